//! `cutover vault create` and `edit`: an editor on the plaintext, which is in a private directory and wiped after.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::super::signals::Signals;
use super::{Create, Edit, Plain, keys::Asked, name_of, open, place, read, seal};
use crate::cli::Stop;
use crate::error::Diagnostic;

pub async fn create(create: &Create) -> Result<(), Stop> {
    let path = &create.file;
    if path.exists() {
        let error = Diagnostic::new(format!("`{}` is there already", path.display()));
        return Err(error.hint("`cutover vault edit` changes it").into());
    }
    if !create.skip_tty_check && !std::io::stdout().is_terminal() {
        let error = Diagnostic::new("an editor needs a terminal");
        return Err(error
            .hint("`--skip-tty-check`, or `cutover vault encrypt --output FILE` on standard input")
            .into());
    }
    let keyring = create.with.keyring(Asked::New)?;
    let key = create.with.key(&keyring)?;
    let plain = edited(path, &[]).await?;
    place::write(path, &seal(&plain, &key)?, None)?;
    Ok(())
}

pub async fn edit(edit: &Edit) -> Result<(), Stop> {
    let keyring = edit.with.keyring(Asked::Once)?;
    for path in &edit.files {
        let (key, before) = open(&keyring, &read(path)?, &name_of(path))?;
        let key = if edit.with.id().is_some() { edit.with.key(&keyring)? } else { key.clone() };
        let after = edited(path, &before).await?;
        if after != before {
            place::write(path, &seal(&after, &key)?, place::mode_of(path))?;
        }
    }
    Ok(())
}

/// Returns what the editor makes of a text.
async fn edited(path: &Path, before: &[u8]) -> Result<Plain, Stop> {
    let cannot = |error: std::io::Error| Diagnostic::new(format!("cannot edit `{}`: {error}", path.display()));
    // Told to end, this process still wipes what it has written.
    let _signals = Signals::listen().map_err(Stop::Output)?;
    let private = Private::new().map_err(cannot)?;
    // Editors choose their colours by the name.
    let file = private.0.path().join(path.file_name().unwrap_or_default());
    let mut options = std::fs::OpenOptions::new();
    let mut plain = options.write(true).create_new(true).mode(0o600).open(&file).map_err(cannot)?;
    plain.write_all(before).map_err(cannot)?;
    drop(plain);
    let set = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor =
        set("ANSIBLE_EDITOR").or_else(|| set("EDITOR")).or_else(|| set("VISUAL")).unwrap_or_else(|| "vi".into());
    let words = shlex::split(&editor).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| Diagnostic::new(format!("`EDITOR` is no command: `{editor}`")))?;
    let told = file.clone();
    // The user's own program, on the user's own machine.
    #[allow(clippy::disallowed_methods)]
    let ended =
        tokio::task::spawn_blocking(move || std::process::Command::new(&words[0]).args(&words[1..]).arg(told).status());
    let ended = ended.await.map_err(std::io::Error::other).and_then(|ended| ended);
    let ended = ended.map_err(|error| {
        Diagnostic::new(format!("the editor `{editor}` cannot be started: {error}"))
            .hint("set EDITOR to one that is there")
    })?;
    if !ended.success() {
        let error = Diagnostic::new(format!("the editor ended with {ended}: nothing was written"));
        return Err(error.into());
    }
    Ok(read(&file)?)
}

/// A directory that only this user may read, in memory where that can be; wiped when it is dropped.
struct Private(tempfile::TempDir);

impl Private {
    fn new() -> std::io::Result<Private> {
        let memory = ["/dev/shm", "/run/shm"].iter().map(PathBuf::from);
        let memory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter().chain(memory);
        let mut builder = tempfile::Builder::new();
        builder.permissions(std::fs::Permissions::from_mode(0o700));
        let mut found = memory.filter(|path| path.is_dir()).filter_map(|path| builder.tempdir_in(path).ok());
        found.next().map_or_else(|| builder.tempdir(), Ok).map(Private)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // An editor may have left copies beside it.
        for entry in std::fs::read_dir(self.0.path()).into_iter().flatten().flatten() {
            let _ = std::fs::OpenOptions::new().write(true).open(entry.path()).and_then(place::wipe);
        }
    }
}
