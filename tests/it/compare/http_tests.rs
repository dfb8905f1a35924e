use serde_json::Value;

use crate::compare::http::*;

#[test]
fn an_answer_is_its_json_or_nothing() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"owner\":\"a\"}";
    assert_eq!(parse(ok).expect("JSON")["owner"], "a");
    assert_eq!(parse("HTTP/1.1 404 Not Found\r\n\r\n{}"), Some(Value::Null));
    assert_eq!(parse("HTTP/1.1 503 Service Unavailable\r\n\r\n{}"), None);
    assert_eq!(parse(""), None);
}
