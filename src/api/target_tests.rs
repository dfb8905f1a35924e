use proptest::prelude::*;

use super::*;

const LOWER: &str = "4c4c4544-004d-4d10-8050-b4c04f564433";
const UPPER: &str = "4C4C4544-004D-4D10-8050-B4C04F564433";
const OTHER: &str = "11111111-2222-3333-4444-555555555555";

fn id(text: &str) -> DeviceId {
    text.parse().expect(text)
}

/// `{}` is the device, `{U}` the same in upper case, `{O}` another.
fn spelled(target: &str) -> String {
    target.replace("{}", LOWER).replace("{U}", UPPER).replace("{O}", OTHER)
}

fn named(target: &str) -> Target {
    read(&spelled(target)).unwrap_or_else(|_| panic!("{target} is not ambiguous"))
}

#[test]
fn the_device_is_the_first_guid_that_is_a_path_segment_else_that_of_host() {
    for target in [
        "/api/v1/amt/power/state/{}",
        "/api/v1/amt/power/state/{}/",
        "/api/v1/amt/power/state/{U}?x=1",
        "/mps/api/v1/amt/power/state/{}",
        "/api/v1/amt/certificates/{}/{O}",
        "/api/v1/amt/networkSettings/wireless/profile/{}/{O}",
        "/api/v1/amt/log/audit/{}/download?startIndex=0",
        "/relay/webrelay.ashx?p=2&host={}&port=16994&tls=0&tls1only=0&mode=kvm",
        "/relay/webrelay.ashx?host={U}",
        "/relay/webrelay.ashx?host={}&host={U}",
        "/api/v1/amt/features/{}?host={O}",
        "/{}",
    ] {
        assert_eq!(named(target).by, By::Owner(id(LOWER)), "{target}");
    }
}

#[test]
fn what_names_no_device_is_for_anyone() {
    for target in [
        "/",
        "/api/v1/amt/power/state/not-a-guid",
        "/api/v1/amt/power/state/{}.json",
        "/api/v1/amt/power/state/x{}",
        "/api/v1/amt/power/state/4c4c4544004d4d108050b4c04f564433",
        "/relay/webrelay.ashx?Host={}",
        "/relay/webrelay.ashx?hostname={}",
        "/relay/webrelay.ashx?x={}",
        "/relay/webrelay.ashx?host=",
        "/relay/webrelay.ashx?host",
        "/?a?host={}",
    ] {
        let found = named(target);
        assert_eq!((found.device, found.by), (None, By::Anyone), "{target}");
    }
}

#[test]
fn what_mps_answers_from_its_database_is_for_anyone_with_a_device_or_without() {
    for target in [
        "/api/v1/devices",
        "/api/v1/devices/",
        "/API/V1/Devices?$top=25&hostname=x",
        "/api/v1/devices?host={}",
        "/api/v1/devices/stats",
        "/api/v1/devices/tags",
        "/api/v1/devices/{}",
        "/api/v1/devices/{}/?tenantId=a",
        "/api/v1/authorize",
        "/api/v1/authorize/redirection/{}",
        "/api/v1/Authorize/Redirection/{U}/",
        "/api/v1/ciracert",
        "/api/v1/health",
        "/api/v1/version",
    ] {
        assert_eq!(named(target).by, By::Anyone, "{target}");
    }
    for target in [
        "/api/v1/devices/redirectstatus/{}",
        "/api/v1/devices/disconnect/{}",
        "/api/v1/devices/refresh/{}",
        "/api/v1/devices/{}/more",
        "/api/v1/devices/stats/{}",
        "/api/v1/authorize/{}",
        "/api/v2/devices/{}",
        "/devices/{}",
    ] {
        assert_eq!(named(target).by, By::Owner(id(LOWER)), "{target}");
    }
}

#[test]
fn another_spelling_of_the_device_that_counts_is_made_canonical_and_nothing_else() {
    for (target, sent) in [
        ("/api/v1/devices/{U}", "/api/v1/devices/{}"),
        ("/API/v1/amt/features/{U}/{U}?host={U}", "/API/v1/amt/features/{}/{U}?host={U}"),
        ("/relay/webrelay.ashx?P=2&host={U}&port=16994", "/relay/webrelay.ashx?P=2&host={}&port=16994"),
        ("/api/v1/authorize/redirection/{U}", "/api/v1/authorize/redirection/{}"),
    ] {
        let target = spelled(target);
        let range = read(&target).expect("not ambiguous").respell.expect("another spelling");
        assert_eq!(respelled(&target, &range), spelled(sent));
    }
    assert_eq!(named("/api/v1/devices/{}?host={U}").respell, None, "already canonical where it counts");
}

#[test]
fn a_target_that_names_another_device_once_decoded_is_refused() {
    let encoded = LOWER.replacen('-', "%2d", 1);
    for target in [
        format!("/api/v1/amt/power/state/{encoded}"),
        format!("/api/v1/amt/power/state/{encoded}/{OTHER}"),
        format!("/api/v1/amt/power/state/%34{}", &LOWER[1..]),
        format!("/api/v1/amt/power/state%2F{LOWER}"),
        format!("/api/v1/amt/power/state%2f{LOWER}/{OTHER}"),
        format!("/api/v1/%zz/{encoded}"),
        format!("/api/v1/%ff/{encoded}"),
        format!("/relay/webrelay.ashx?host={encoded}"),
        format!("/relay/webrelay.ashx?%68ost={LOWER}"),
        format!("/relay/webrelay.ashx?host={LOWER}&host={OTHER}"),
        format!("/relay/webrelay.ashx?host={LOWER}&host=%31{}", &OTHER[1..]),
    ] {
        assert_eq!(read(&target), Err(Ambiguous), "{target}");
    }
    // What is encoded elsewhere is nobody's business.
    for target in ["/api/v1/amt/x/{}/My%20Net%2F5?a=%20+b", "/api/v1/devices?tags=%7Bx%7D&method=AND"] {
        named(target);
    }
}

proptest! {
    #[test]
    fn nothing_a_caller_can_send_panics_and_respelling_changes_only_case(target in "[/?&=%+a-fA-F0-9-]{0,120}") {
        if let Ok(Target { respell: Some(range), .. }) = read(&target) {
            let sent = respelled(&target, &range);
            prop_assert!(sent.eq_ignore_ascii_case(&target));
            prop_assert_eq!(read(&sent).map(|t| t.respell), Ok(None));
        }
    }

    #[test]
    fn what_decoding_shows_is_what_is_routed_by(
        parts in proptest::collection::vec(
            prop_oneof![
                Just(LOWER.to_owned()), Just(UPPER.to_owned()), Just(OTHER.to_owned()),
                Just(LOWER.replace('-', "%2D")), Just(format!("a%2f{OTHER}")), Just("amt".to_owned()),
            ],
            0..4,
        ),
    ) {
        let path = format!("/{}", parts.join("/"));
        if let Ok(found) = read(&path) {
            // The oracle: decode by plain replacement, split, first that parses.
            let decoded = path.replace("%2D", "-").replace("%2f", "/");
            let first = decoded.split('/').find_map(|segment| segment.parse::<DeviceId>().ok());
            prop_assert_eq!(found.device, first);
        }
    }
}
