use serde_json::json;

use crate::compare::said::*;

#[test]
fn progress_and_summary_are_told_apart() {
    let line = r#"{"event":"progress","elapsed_s":1.5,"connected":3,"connects":4,"failed":0,"bytes_up":5,
        "bytes_down":6,"echoes":7,"more":8}"#;
    let progress = Progress {
        elapsed_s: 1.5,
        connected: 3,
        connects: 4,
        failed: 0,
        bytes_up: 5,
        bytes_down: 6,
        echoes: 7,
    };
    assert_eq!(Said::parse(line), Ok(Said::Progress(progress)));
    let summary = r#"{"event":"summary","failed":0}"#;
    assert_eq!(Said::parse(summary), Ok(Said::Summary(json!({ "event": "summary", "failed": 0 }))));
}

#[test]
fn what_is_not_understood_is_an_error() {
    for line in ["", "done", "{}", r#"{"event":"other"}"#, r#"{"event":"progress","elapsed_s":1}"#] {
        assert!(Said::parse(line).is_err(), "{line}");
    }
}

#[test]
fn a_summary_without_a_word_about_failures_is_no_good_one() {
    assert_eq!(faults(&json!({ "failed": 0, "corrupt": 0 })), None);
    assert_eq!(faults(&json!({ "failed": 2, "corrupt": 0 })).as_deref(), Some("2 failed"));
    assert_eq!(faults(&json!({ "failed": 0, "corrupt": 1 })).as_deref(), Some("1 corrupt"));
    assert!(faults(&json!({ "failed": 0 })).is_some());
}
