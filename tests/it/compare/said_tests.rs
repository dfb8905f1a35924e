use serde_json::{Value, json};

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
fn only_a_summary_that_says_so_is_without_fault() {
    let summary = |failed: Value, ended: Value, corrupt: u64| {
        faults(&json!({ "failed": failed, "ended": ended, "corrupt_blocks": corrupt }))
    };
    assert_eq!(summary(json!({}), json!({ "device: the run is over": 16 }), 0), None);
    assert_eq!(summary(json!({ "refused": 2 }), json!({}), 0).as_deref(), Some("2 x refused"));
    assert_eq!(summary(json!({}), json!({ "server: closed": 1 }), 0).as_deref(), Some("1 x server: closed"));
    assert_eq!(summary(json!({}), json!({}), 3).as_deref(), Some("3 corrupt blocks"));
    assert!(faults(&json!({ "failed": {}, "ended": {} })).is_some(), "no word about corrupt blocks");
    assert!(faults(&json!({ "corrupt_blocks": 0 })).is_some(), "no word about failures");
}
