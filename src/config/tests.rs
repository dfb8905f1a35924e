use super::*;
use crate::device;

fn problems(text: &str) -> Vec<String> {
    from_text(text, Path::new("/nonexistent")).err().map(|problems| problems.lines()).unwrap_or_default()
}

fn loaded(text: &str) -> app::Settings {
    match from_text(text, Path::new("")) {
        Ok(loaded) => loaded.settings,
        Err(problems) => panic!("{problems}"),
    }
}

fn with_environment(text: Option<&str>, pairs: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    judge(text, Path::new(""), &pairs)
}

#[test]
fn the_reference_is_what_the_repository_carries() {
    let carried = include_str!("../../config/reference.toml");
    assert!(
        carried == reference(),
        "config/reference.toml is old: cargo run -- check-config --reference > config/reference.toml"
    );
}

#[test]
fn every_file_in_config_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files: Vec<_> = std::fs::read_dir(&folder)
        .expect("config/ is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(!files.is_empty(), "there is at least the reference");
    for file in files {
        let given = Given { file: Some(file), environment: vec![] };
        load(&given).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn an_empty_section_means_the_defaults_of_whoever_uses_it() {
    let settings = loaded("[device]\n[admin]\n");
    let device = settings.device.expect("the plane is open");
    assert_eq!(format!("{:?}", device.settings), format!("{:?}", device::Settings::default()));
    assert_eq!(device.certificate, app::Certificate::Generated);
    let mut directory = settings.directory;
    assert!(!directory.replica_name.is_empty(), "the host's name");
    directory.replica_name.clear();
    let fields = |d: &crate::directory::Settings| {
        let times =
            [d.budget, d.connect_timeout, d.beat, d.lease, d.grace, d.hold, d.resync_limit, d.cache_ttl];
        let more = [d.cache_negative_ttl, d.cache_stale, d.assert_every, d.republish_spread];
        (d.url.clone(), d.prefix.clone(), times, more, d.cache_entries, d.republish_rate)
    };
    assert_eq!(fields(&directory), fields(&crate::directory::Settings::default()));
    assert_eq!(settings.admin.expect("open").listen, ["127.0.0.1:8004".parse().expect("an address")]);
}

#[test]
fn every_default_can_also_be_written() {
    let written = loaded(&reference());
    let absent = loaded("[device]\n[api]\n[admin]\n");
    assert_eq!(format!("{written:?}"), format!("{absent:?}"));
    assert_eq!(written.restart.changed(&absent.restart), [""; 0], "a default written out is no change");
}

#[test]
fn a_plane_is_open_when_its_section_is_there() {
    let none = with_environment(None, &[]).expect("no file is fine").settings;
    assert!(none.device.is_none());
    assert!(none.admin.is_some_and(|admin| admin.optional), "a loopback admin that may fail");
    assert!(none.api.is_some(), "and what mps-router did");
    let empty = loaded("");
    assert!(
        empty.device.is_none() && empty.api.is_none() && empty.admin.is_none(),
        "a file says what is open"
    );
}

#[test]
fn without_a_file_the_environment_of_mps_router_says_where() {
    let said = |pairs: &[(&str, &str)]| {
        let Loaded { settings, warnings } = with_environment(None, pairs).expect("no problem");
        let api = settings.api.expect("open");
        let all: Vec<_> = settings.instances.list.iter().map(|i| format!("{} {}", i.name, i.http)).collect();
        (api.listen[0].to_string(), api.http_port, all.join(", "), warnings.len())
    };
    assert_eq!(said(&[]), ("0.0.0.0:8003".into(), 3000, "mps mps:3000".into(), 0));
    let router = [("PORT", "9003"), ("MPS_HOST", "10.0.0.5"), ("MPS_PORT", "3001")];
    assert_eq!(said(&router), ("0.0.0.0:9003".into(), 3001, "10.0.0.5 10.0.0.5:3001".into(), 0));
    let links = [("MPS_PORT", "tcp://10.96.0.7:3000"), ("MPS_HOST", "[fd00::1]"), ("PORT", "")];
    assert_eq!(said(&links), ("0.0.0.0:8003".into(), 3000, "fd00::1 [fd00::1]:3000".into(), 1));
    let found = with_environment(None, &[("MPS_PORT", "web")]).expect_err("no port").lines();
    assert_eq!(found, ["MPS_PORT: \"web\" is not a port; write a number up to 65535"]);
    let database = [("MPS_CONNECTION_STRING", "postgresql://u:password@db/mpsdb")];
    let warned = with_environment(None, &database).expect("no problem").warnings;
    let said = warned.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("MPS_CONNECTION_STRING") && !said.contains("password"), "{said}");
    let file = with_environment(Some("[api]"), &router).expect("no problem").settings;
    assert!(file.instances.list.is_empty(), "a file says who is there");
}

#[test]
fn an_empty_api_section_means_the_defaults_of_the_plane() {
    let api = loaded("[api]").api.expect("open");
    assert_eq!(format!("{api:?}"), format!("{:?}", crate::api::Settings::default()));
    for (text, expected) in [
        ("routes = [\"rps\"]", "line 2: api.routes: \"rps\": not a route"),
        ("routes = [\"/x web\"]", "line 2: api.routes: there is no pool \"web\""),
        ("instance-idle = \"5s\"", "line 2: api.instance-idle: \"5s\" is out of range"),
    ] {
        let found = problems(&format!("[api]\n{text}"));
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected} in {found:?}");
    }
}

#[test]
fn ten_mistakes_are_reported_at_once_each_with_line_and_cure() {
    let text = r#"
[device]
listen = ["0.0.0.0"]
hold = "soon"
max-connections = "many"
max-preauth = -1
proxy-from = ["10.0.0.0/33"]
colour = "blue"
certificate = "missing.crt"
private-key = "missing.key"

[directory]
url = "http://redis"

[instances.cira-tls]
pins = ["sha1:abcd"]

[[instances.static]]
name = "mps 1"
[[instances.static]]
name = "a"
[[instances.static]]
name = "a"
cira = "nowhere"
[rpc]
listen = ["0.0.0.0:8444"]
"#;
    let found = problems(text);
    for expected in [
        "line 3: device.listen: \"0.0.0.0\" is not an address with a port; write address and port",
        "line 4: device.hold: \"soon\" is not a duration; write a duration from 0s to 10m",
        "line 5: device.max-connections: this is a string; write a whole number from 1",
        "line 6: device.max-preauth: the number is out of range; write a whole number from 1",
        "line 7: device.proxy-from: \"10.0.0.0/33\" is not a network; write a network as 10.0.0.0/8",
        "line 8: device.colour: unknown key; ",
        "line 9: device.certificate: cannot read /nonexistent/missing.crt: ",
        "line 13: directory.url: this is no directory we know; write memory:",
        "line 16: instances.cira-tls.pins: \"sha1:abcd\": not a pin",
        "line 19: instances.static.name: \"mps 1\": not an instance name",
        "line 23: instances.static.name: \"a\" is there twice, first at line 20; give each",
        "line 24: instances.static.cira: \"nowhere\": not an address",
        "line 25: rpc: this build has no such plane yet; take [rpc] out",
    ] {
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}\nin\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), 13, "and nothing else:\n{}", found.join("\n"));
}

#[test]
fn each_mistake_names_its_cure() {
    for (text, expected) in [
        ("device = 3", "line 1: device: this is a section, not an integer; write [device] above its keys"),
        ("[devices]", "line 1: devices: unknown section; the sections are [device], [api], [admin]"),
        ("[device]\nhodl = 1", "line 2: device.hodl: unknown key; did you mean device.hold?"),
        ("[device]\nhold = 30", "line 2: device.hold: this is an integer; write a duration from"),
        (
            "[device]\nhold = \"11m\"",
            "line 2: device.hold: \"11m\" is out of range; write a duration from 0s to 10m",
        ),
        (
            "[device]\nlegacy-tls = \"terminate\"",
            "line 2: device.legacy-tls: \"terminate\" is not in this build yet; write \"refuse\" or \"splice\"",
        ),
        (
            "[device]\nlegacy-tls = \"splice\"\n[instances.cira-tls]\nenabled = false",
            "line 2: device.legacy-tls: \"splice\" has instances terminate TLS, and instances.cira-tls.enabled = \
             false says that they do not; write \"refuse\", or instances.cira-tls.enabled = true",
        ),
        (
            "[device]\nlegacy-tls = \"splice\"\nmax-connections = 2000\nmax-spliced = 2000",
            "line 4: device.max-spliced: leaves no room for devices that prove themselves; make it less than \
             device.max-connections",
        ),
        (
            "[device]\nguard = \"lax\"",
            "line 2: device.guard: \"lax\" is none of its words; write \"strict\" or",
        ),
        ("[device]\nproxy-from = \"10.0.0.1\"", "line 2: device.proxy-from: this is a string; write a list"),
        (
            "[device]\nproxy-from = [\"10.0.0.1/8\"]",
            "line 2: device.proxy-from: \"10.0.0.1/8\" has bits set beyond",
        ),
        ("[device]\nmax-connections = 5", "device.max-preauth: more than all connections; make it at most"),
        ("[device]\ncertificate = \"a\"", "device.private-key: missing beside device.certificate; name"),
        (
            "[device]\nlisten = [\"[::]:1\", \"[::]:1\"]",
            "line 2: device.listen: [::]:1 is there twice; name it once",
        ),
        (
            "[directory]\nurl = \"redis://h\"\n[device]",
            "device.certificate: missing, and the directory is shared;",
        ),
        (
            "[directory]\nlegacy-url = \"x\"",
            "line 2: directory.legacy-url: legacy databases are not in this build",
        ),
        ("[directory]\nlease = \"1s\"", "line 2: directory.lease: too short for its beats; make it at least"),
        (
            "[directory]\npassword = \"a\"\npassword-file = \"b\"",
            "line 3: directory.password-file: directory.password is",
        ),
        (
            "[instances.cira-tls]\nverify = \"ca\"",
            "instances.cira-tls.ca: \"ca\" and \"full\" need the roots; name",
        ),
        ("[[instances.static]]", "line 1: instances.static: an instance without a name; write name"),
        (
            "[instances]\nstatic = 1",
            "line 2: instances.static: this is a list of tables; write [[instances.static]]",
        ),
        (
            "[[instances.static]]\nname=\"a\"\nweight = -1",
            "line 3: instances.static.weight: the number is out of range",
        ),
        ("[log]\nfilter = \"a=b=c\"", "line 2: log.filter: \"a=b=c\": "),
        ("[device]\nlisten = [", "line 2: not TOML: "),
        ("[device]\nhold = \"1s\"\nhold = \"2s\"", "line 3: not TOML: duplicate key"),
        (
            "[admin]\ntokens-file = \"t\"",
            "line 2: admin.tokens-file: tokens are not in this build yet; take it out",
        ),
    ] {
        let found = problems(text);
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{text}\n{expected}\nin\n{}",
            found.join("\n")
        );
    }
}

#[test]
fn legacy_tls_is_refused_unless_somebody_chose_to_splice_it_and_was_told_what_that_gives_up() {
    let device = |text: &str| loaded(text).device.expect("open").settings;
    assert_eq!(device("[device]").legacy_tls, LegacyTls::Refuse);
    assert_eq!(
        device("[device]\nmax-spliced = 100000").legacy_tls,
        LegacyTls::Refuse,
        "then it is no matter"
    );
    let text = "[device]\nlegacy-tls = \"splice\"\nmax-spliced = 7\n[instances.cira-tls]\nverify = \"none\"";
    let Loaded { settings, warnings } = from_text(text, Path::new("")).expect("no problem");
    let settings = settings.device.expect("open").settings;
    assert_eq!((settings.legacy_tls, settings.max_spliced), (LegacyTls::Splice, 7));
    let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let told = said.iter().find(|line| line.starts_with("line 2: device.legacy-tls: ")).expect("a warning");
    for lost in ["past the guard", "no GUID", "no owner", "no claim", "no routing", "write \"refuse\""] {
        assert!(told.contains(lost), "{told}");
    }
    let refusing = from_text("[device]", Path::new("")).expect("no problem").warnings;
    assert!(refusing.iter().all(|warning| warning.key != "device.legacy-tls"));
}

#[test]
fn what_is_wrong_with_a_secret_is_said_without_it() {
    for text in [
        "[directory]\nurl = \"htpp://:hunter2@h\"",
        "[directory]\nurl = \"redis://:hunter2@h\"\n[device]\nhold = 1",
    ] {
        let found = problems(text).join("\n");
        assert!(!found.is_empty() && !found.contains("hunter2"), "{found}");
    }
    let settings = loaded("[directory]\nurl = \"redis://u:hunter2@h\"\npassword = \"hunter2\"");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("url"), "redis://h/3\n").expect("written");
    std::fs::write(folder.path().join("password"), "p w\n").expect("written");
    let text = "[directory]\nurl-file = \"url\"\npassword-file = \"password\"";
    let settings = from_text(text, folder.path()).expect("no problem").settings;
    assert_eq!(settings.directory.url, "redis://h/3");
    assert_eq!(settings.directory.password.expect("it is set").expose(), "p w");
    for key in keys::all().filter(|key| key.secret) {
        assert!(keys::find(&format!("{}-file", key.name)).is_some(), "{}-file", key.name);
    }
}

#[test]
fn the_environment_sets_any_key_and_wins() {
    let loaded = with_environment(
        Some("[device]\nhold = \"1s\"\nproxy-from = [\"10.0.0.0/8\"]"),
        &[
            ("MPS_GATEWAY__DEVICE__HOLD", "2s"),
            ("MPS_GATEWAY__DEVICE__MAX_CONNECTIONS", "3000"),
            ("MPS_GATEWAY__DEVICE__PROXY_FROM", "192.168.0.0/16, fd00::/8,"),
            ("MPS_GATEWAY__INSTANCES__CIRA_TLS__ENABLED", "false"),
            ("MPS_GATEWAY__ADMIN__LISTEN", "127.0.0.1:9000"),
            ("MPS_GATEWAY_PORT", "tcp://10.0.0.1:4433"),
            ("HOME", "/root"),
        ],
    );
    let settings = loaded.expect("no problem").settings;
    let device = settings.device.expect("open").settings;
    assert_eq!((device.hold.as_secs(), device.max_connections, device.proxy_from.len()), (2, 3000, 2));
    assert!(settings.instance_tls.is_none());
    assert_eq!(settings.admin.expect("a variable opens it").listen[0].port(), 9000);
}

#[test]
fn a_variable_that_sets_nothing_is_a_mistake() {
    let pairs = [
        ("MPS_GATEWAY__DEVICE__HODL", "2s"),
        ("MPS_GATEWAY__DEVICE__MAX_PREAUTH", "lots"),
        ("MPS_GATEWAY__INSTANCES__STATIC__NAME", "a"),
    ];
    let found = with_environment(None, &pairs).expect_err("three mistakes").lines();
    assert_eq!(
        found,
        [
            "MPS_GATEWAY__DEVICE__HODL: no key is set by this variable; did you mean MPS_GATEWAY__DEVICE__HOLD?",
            "MPS_GATEWAY__DEVICE__MAX_PREAUTH: device.max-preauth: the number is out of range; \
             write a whole number from 1 to 10000000",
            "MPS_GATEWAY__INSTANCES__STATIC__NAME: instances.static.name: instances cannot be set by the \
             environment; write [[instances.static]] in the file",
        ]
    );
}

#[test]
fn an_instance_is_known_by_name_alone_or_by_addresses() {
    let text = "[instances]\ncira-port = 1\nhttp-port = 2\n[[instances.static]]\nname = \"fd00::1\"\n\
                [[instances.static]]\nname = \"b\"\ncira = \"c:3\"\nhttp = \"d:4\"\nweight = 2.5\nzone = \"z\"\nmax-sessions = 9";
    let list = loaded(text).instances.list;
    let show =
        |i: usize| format!("{} {} {} {:?}", list[i].cira, list[i].http, list[i].weight, list[i].max_sessions);
    assert_eq!((show(0), show(1)), ("[fd00::1]:1 [fd00::1]:2 1 None".into(), "c:3 d:4 2.5 Some(9)".into()));
}

#[test]
fn what_a_reload_cannot_do_is_named() {
    let before = loaded("[device]\nhold = \"1s\"\n[directory]\nprefix = \"a\"\n[drain]\nwindow = \"1s\"");
    let after =
        loaded("[device]\nhold = \"2s\"\n[directory]\nprefix = \"b\"\n[admin]\n[drain]\nwindow = \"2s\"");
    assert_eq!(before.restart.changed(&after.restart), ["admin", "directory.prefix", "drain.window"]);
}
