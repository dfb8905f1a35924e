//! Writes files that must not be lost or read by others.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::model::Secret;

/// A file to be written.
pub struct NewFile<'a> {
    name: &'a str,
    content: &'a str,
    mode: u32,
}

impl<'a> NewFile<'a> {
    /// Anybody may read it.
    pub const fn public(name: &'a str, content: &'a str) -> Self {
        Self { name, content, mode: 0o644 }
    }

    /// Only its owner may.
    pub fn secret(name: &'a str, content: &'a Secret) -> Self {
        Self { name, content: content.expose(), mode: 0o600 }
    }
}

/// A folder and what may be done in it.
pub struct Files {
    folder: PathBuf,
    force: bool,
}

impl Files {
    /// `force`: what is there may be replaced.
    pub fn in_folder(folder: &Path, force: bool) -> Self {
        Self { folder: folder.to_owned(), force }
    }

    /// Fails, before anything is done, if one of `names` would be replaced without permission.
    pub fn check(&self, names: &[&str]) -> Result<(), String> {
        let there: Vec<_> = names
            .iter()
            .map(|name| self.folder.join(name))
            .filter(|path| !self.force && path.symlink_metadata().is_ok())
            .map(|path| path.display().to_string())
            .collect();
        if there.is_empty() {
            return Ok(());
        }
        Err(format!("nothing was written: {} would be replaced (--force allows it)", there.join(", ")))
    }

    /// Writes a file whole or not at all: it appears under its name only when it is complete.
    pub fn write(&self, file: &NewFile<'_>) -> Result<PathBuf, String> {
        self.check(&[file.name])?;
        let path = self.folder.join(file.name);
        let unfinished = self.folder.join(format!(".{}.new", file.name));
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        fs::create_dir_all(&self.folder).map_err(failed)?;
        // Left by a run that was cut short: its mode may be anything.
        if let Err(error) = fs::remove_file(&unfinished)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, file.mode);
        let mut open = options.open(&unfinished).map_err(failed)?;
        open.write_all(file.content.as_bytes()).and_then(|()| open.sync_all()).map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(failed)?;
        Ok(path)
    }
}
