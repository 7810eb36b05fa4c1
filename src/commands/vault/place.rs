//! How `cutover vault` writes: a file whole or not at all, and no plaintext left where it was.

use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::error::Diagnostic;

/// Returns a file's mode, so that what replaces it keeps it.
pub fn mode_of(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|about| about.permissions().mode() & 0o7777)
}

/// Puts `bytes` in the place of a file, which only its owner may read unless `mode` says otherwise; a link is followed.
/// What was there is overwritten with zeros, unless it has a second name.
pub fn write(path: &Path, bytes: &[u8], mode: Option<u32>) -> Result<(), Diagnostic> {
    let cannot = |error: std::io::Error| Diagnostic::new(format!("cannot write `{}`: {error}", path.display()));
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let directory = real.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let old = std::fs::OpenOptions::new().write(true).open(&real).ok();
    let mut new = tempfile::Builder::new().prefix(".cutover-").tempfile_in(directory).map_err(cannot)?;
    new.write_all(bytes).map_err(cannot)?;
    if let Some(about) = old.as_ref().and_then(|old| old.metadata().ok()) {
        // Only root may give a file away; for all others it is theirs already.
        let _ = std::os::unix::fs::fchown(new.as_file(), Some(about.uid()), Some(about.gid()));
    }
    let mode = std::fs::Permissions::from_mode(mode.unwrap_or(0o600));
    new.as_file().set_permissions(mode).and_then(|()| new.as_file().sync_all()).map_err(cannot)?;
    new.persist(&real).map_err(|error| cannot(error.error))?;
    if let Some(old) = old.filter(|old| old.metadata().is_ok_and(|about| about.nlink() == 0)) {
        // It is gone already: that its blocks could not be wiped changes nothing about what is there now.
        let _ = wipe(old);
    }
    Ok(())
}

/// Overwrites a file with zeros.
pub fn wipe(mut file: std::fs::File) -> std::io::Result<()> {
    let mut left = file.metadata()?.len();
    let zeros = [0; 8192];
    file.rewind()?;
    while left > 0 {
        let length = left.min(zeros.len() as u64);
        file.write_all(&zeros[..length as usize])?;
        left -= length;
    }
    file.sync_all()
}
