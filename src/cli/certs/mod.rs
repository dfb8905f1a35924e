//! `certs`: the certificate that devices know, from MPS's secret store or made anew.

pub mod files;
mod import;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use humantime::format_rfc3339_seconds;

use self::files::{Files, NewFile};
use super::exit;
use crate::model::Secret;
use crate::net::identity::Identity;
use crate::net::instance_tls::Pin;
use crate::sim::pki::{Authority, Keys};

/// What to do about certificates.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a root and a device certificate, as MPS does at its first start.
    Generate(Generate),
    /// Split MPS's `MPSCerts` secret into leaf, key and root, and print the leaf's pins.
    Import(Import),
}

/// Where files go.
#[derive(Debug, Args)]
struct Into {
    /// Folder to write into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// What to make.
#[derive(Debug, Args)]
pub struct Generate {
    /// The name that devices are configured with: MPS's `common_name`.
    common_name: String,
    /// Further names, for clients other than devices.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    into: Into,
}

/// What to split.
#[derive(Debug, Args)]
pub struct Import {
    /// The secret as JSON, with Vault's envelope or without; `-`: standard input.
    ///
    /// `vault kv get -format=json secret/MPSCerts` prints it.
    file: PathBuf,
    #[command(flatten)]
    into: Into,
}

/// Does it.
pub fn run(command: Command) -> ExitCode {
    let done = match &command {
        Command::Generate(arguments) => generate(arguments),
        Command::Import(arguments) => import(arguments),
    };
    match done {
        Ok(report) => {
            println!("{report}");
            exit::OK
        }
        Err(problem) => {
            eprintln!("mps-gateway: {problem}");
            exit::FAILED
        }
    }
}

fn generate(arguments: &Generate) -> Result<String, String> {
    let files = Files::in_folder(&arguments.into.into, arguments.into.force);
    files.check(&["cira.crt", "cira.key", "root.crt", "root.key"])?;
    let names: Vec<_> = arguments.names.iter().map(String::as_str).collect();
    let authority = Authority::new(Keys::Rsa, &format!("{} root", arguments.common_name));
    let authority = authority.map_err(|error| error.to_string())?;
    let leaf = authority.issue(&arguments.common_name, &names).map_err(|error| error.to_string())?;
    let report = write(&files, &leaf.identity(), leaf.pem(), leaf.key_pem(), &authority.root_pem())?;
    let key = files.write(&NewFile::secret("root.key", &authority.key_pem()))?;
    Ok(format!("wrote {}: keep it away from the gateway, which does not need it\n{report}", key.display()))
}

fn import(arguments: &Import) -> Result<String, String> {
    let json = read(&arguments.file)
        .map_err(|error| format!("cannot read {}: {error}", arguments.file.display()))?;
    let imported = import::import(&json).map_err(|error| format!("{}: {error}", arguments.file.display()))?;
    let files = Files::in_folder(&arguments.into.into, arguments.into.force);
    files.check(&["cira.crt", "cira.key", "root.crt"])?;
    write(&files, &imported.identity, &imported.leaf, &imported.key, &imported.root)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut json = Vec::new();
    std::io::stdin().lock().take(import::LONGEST).read_to_end(&mut json)?;
    Ok(json)
}

/// Writes the three files; the report says what they are and how to use them.
fn write(files: &Files, identity: &Identity, leaf: &str, key: &Secret, root: &str) -> Result<String, String> {
    let pins = Pin::of(&identity.chain[0]).map_err(|error| error.to_string())?;
    let key = files.write(&NewFile::secret("cira.key", key))?;
    let leaf = files.write(&NewFile::public("cira.crt", leaf))?;
    let root = files.write(&NewFile::public("root.crt", root))?;
    let kind = identity.leaf_key.name();
    let (leaf, key, root) = (leaf.display(), key.display(), root.display());
    let [spki, certificate] = pins;
    Ok(format!(
        "wrote {leaf}: the leaf that devices meet, for {} ({kind} {} bits, until {})\n\
         wrote {key}: its key, mode 0600\n\
         wrote {root}: the root that devices trust\n\
         pins of the leaf:\n  {spki}\n  {certificate}\n\n\
         In the configuration of the gateway:\n\n\
         [device]\ncertificate = \"{leaf}\"\nprivate-key = \"{key}\"\n\n\
         [instances.cira-tls]  # when the instances show this leaf, too, as MPS does\n\
         verify = \"pin\"\npins = [\"{spki}\"]",
        identity.common_name.as_deref().unwrap_or("nobody (no common name)"),
        identity.key_bits,
        format_rfc3339_seconds(identity.not_after),
    ))
}

#[cfg(test)]
mod tests;
