//! Configuration: one TOML file and the environment in, settings or all problems at once out.
//!
//! The only module that reads the environment. Settings belong to whoever uses them; what was written
//! stays in here. [`keys`](self) are one table that feeds the parser, the environment's names and the
//! printed reference, so that these cannot disagree.

mod certificate;
mod check;
mod directory;
mod drop_in;
mod keys;
mod problem;
mod raw;
mod read;
mod reference;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

pub use certificate::remarks as certificate_remarks;
pub use problem::{Place, Problem, Problems};
pub use reference::print as reference;

use crate::app::{self, RestartKeys};
use crate::device::LegacyTls;
use raw::Document;
use read::Reader;

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment: names and values.
    pub environment: Vec<(String, String)>,
}

impl Given {
    /// What this process was given: `file` of the command line, else `MPS_GATEWAY_CONFIG`, and the
    /// environment.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let set = std::env::var_os("MPS_GATEWAY_CONFIG").filter(|path| !path.is_empty());
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect();
        Self { file: file.or_else(|| set.map(PathBuf::from)), environment }
    }
}

/// A configuration without problems.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the gateway is told.
    pub settings: app::Settings,
    /// What is legal and yet worth a word.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a configuration. Reads the certificate files too; binds nothing.
pub fn load(given: &Given) -> Result<Loaded, Problems> {
    let Some(file) = &given.file else {
        return judge(None, Path::new(""), &given.environment);
    };
    let unreadable = |error: std::io::Error| Problems {
        file: Some(file.clone()),
        problems: vec![Problem::new(
            Place::Nowhere,
            "",
            format!("cannot read the configuration: {error}"),
            "name a file with --config or MPS_GATEWAY_CONFIG",
        )],
    };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let base = file.parent().unwrap_or(Path::new(""));
    judge(Some(&text), base, &given.environment)
        .map_err(|problems| Problems { file: Some(file.clone()), ..problems })
}

/// Reads and checks a configuration given as text, without environment; relative paths begin at `base`.
pub fn from_text(text: &str, base: &Path) -> Result<Loaded, Problems> {
    judge(Some(text), base, &[])
}

fn judge(text: Option<&str>, base: &Path, environment: &[(String, String)]) -> Result<Loaded, Problems> {
    let (mut problems, mut warnings) = (vec![], vec![]);
    let mut document = match text {
        Some(text) => raw::parse(text, &mut problems),
        None => Document::default(),
    };
    raw::overlay(&mut document, environment, &mut problems);
    if text.is_none() {
        drop_in::overlay(&mut document, environment, &mut problems, &mut warnings);
    }
    let settings = settings(&document, base, text.is_none(), &mut problems, &mut warnings);
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    if problems.is_empty() {
        Ok(Loaded { settings, warnings })
    } else {
        Err(Problems { file: None, problems })
    }
}

fn settings(
    document: &Document,
    base: &Path,
    no_file: bool,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> app::Settings {
    let (instances, http_port) = check::instances(document, base, problems);
    let mut reader = Reader::new(&document.values, base, problems);
    let directory = directory::read(&mut reader);
    // Closed planes are checked as well: what is written must be right.
    let settings = check::device(&mut reader);
    let open = |section| document.sections.contains(section);
    let device = open("device").then(|| {
        let certificate = certificate::device(&mut reader, directory.url == "memory:", warnings);
        app::Device { certificate, settings }
    });
    let api = check::api(&mut reader, http_port);
    let api = (open("api") || no_file).then_some(api);
    let optional = no_file && !open("admin");
    let admin = check::admin(&mut reader, optional);
    let admin = (open("admin") || optional).then_some(admin);
    let (drain, log) = (check::drain(&mut reader), check::log(&mut reader));
    let instance_tls = check::instance_tls(&mut reader, !instances.list.is_empty() && device.is_some());
    if device.as_ref().is_some_and(|device| device.settings.legacy_tls == LegacyTls::Splice) {
        check::splice(&mut reader, instance_tls.is_some(), warnings);
    }
    let place = |key| reader.place(key);
    if device.is_some() && instances.list.is_empty() {
        let (what, cure) =
            ("no instance: every device will be held, then closed", "write [[instances.static]]");
        warnings.push(Problem::new(Place::Nowhere, raw::STATIC, what, cure));
    }
    if admin.as_ref().is_some_and(|admin| admin.listen.iter().any(|address| !address.ip().is_loopback())) {
        let what = "off loopback only probes and metrics are served";
        warnings.push(Problem::new(
            place("admin.listen"),
            "admin.listen",
            what,
            "add a loopback address for the API",
        ));
    }
    if device.is_some() && directory.url == "memory:" {
        let what = "memory: is for a single replica: no other will find its devices";
        warnings.push(Problem::new(
            place("directory.url"),
            "directory.url",
            what,
            "name a Redis, or run only one",
        ));
    }
    app::Settings {
        admin,
        api,
        device,
        directory,
        drain,
        instance_tls,
        instances,
        log,
        restart: restart(document),
    }
}

/// A fingerprint of every key that only a restart changes, and of the planes that are open.
fn restart(document: &Document) -> RestartKeys {
    let fingerprint = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        hasher.finish()
    };
    let keys = keys::all().filter(|key| key.reload == keys::Reload::Restart).map(|key| {
        let written = document.values.get(key.name).map(|written| written.raw.clone());
        let value = written.or_else(|| key.default.and_then(raw::value));
        (key.name, fingerprint(&|hasher| value.hash(hasher)))
    });
    let planes = ["device", "api", "admin"]
        .map(|plane| (plane, fingerprint(&|hasher| document.sections.contains(plane).hash(hasher))));
    RestartKeys(keys.chain(planes).collect())
}

#[cfg(test)]
mod tests;
