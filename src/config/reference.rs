//! The reference: every key with unit, default, reason and what a reload does to it, as a file that
//! can be used as it stands.

use super::keys::{self, Key};
use super::raw::STATIC;

const HEAD: &str = "\
# Every key of mps-gateway with its default, printed by `mps-gateway check-config --reference`.
# Leave out what you do not change: a section that is here is a plane that is open.
#
# Each key says in which unit it is, and what a reload (SIGHUP, POST /-/reload) does to it:
#   live          it takes effect at once
#   new sessions  sessions from now on follow it
#   restart       nothing; the answer to the reload names it
#
# Any key can be set by the environment instead: MPS_GATEWAY__SECTION__KEY, `.` as `__`, `-` as `_`,
# lists separated by commas (device.max-connections is MPS_GATEWAY__DEVICE__MAX_CONNECTIONS).
";

/// The whole reference.
pub fn print() -> String {
    let mut out = HEAD.to_owned();
    for section in keys::SECTIONS {
        out += &format!("\n# {}\n[{}]\n", section.what, section.name);
        for key in keys::all().filter(|key| section_of(key) == section.name) {
            describe(&mut out, key);
            match key.default {
                Some(default) => out += &format!("{} = {default}\n", name(key)),
                None => out += &format!("# {} = {}\n", name(key), key.example),
            }
        }
    }
    out += &format!("\n# One for each instance.\n# [[{STATIC}]]\n");
    for key in keys::all().filter(|key| section_of(key) == STATIC) {
        describe(&mut out, key);
        out += &format!("# {} = {}\n", name(key), key.default.unwrap_or(key.example));
    }
    out
}

fn describe(out: &mut String, key: &Key) {
    for line in key.why.lines() {
        *out += &format!("# {}\n", line.trim());
    }
    let secret = if key.secret {
        format!(" Secret: {}-file names a file in its place.", name(key))
    } else {
        String::new()
    };
    *out += &format!("# Unit: {}. Reload: {}.{secret}\n", key.unit, key.reload.name());
}

fn section_of(key: &Key) -> &'static str {
    key.name.rsplit_once('.').map_or("", |(section, _)| section)
}

fn name(key: &Key) -> &'static str {
    key.name.rsplit_once('.').map_or(key.name, |(_, name)| name)
}
