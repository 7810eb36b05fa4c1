//! The hosts that a run failed on, in a file for `--limit @FILE`: Ansible's retry files, where they are asked for.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::report::Recap;
use crate::settings;

/// Writes `PLAYBOOK.retry`, where `retry_files_enabled` is set and hosts failed or could not be reached.
pub(super) fn write(playbooks: &[PathBuf], recap: &Recap) {
    let hosts = failed(recap);
    let Some(playbook) = playbooks.first().filter(|_| settings::switch("ANSIBLE_RETRY_FILES_ENABLED", false)) else {
        return;
    };
    if hosts.is_empty() {
        return;
    }
    let directory = settings::value("ANSIBLE_RETRY_FILES_SAVE_PATH").map(PathBuf::from);
    let path = retry_path(playbook, directory.as_deref());
    let mut err = anstream::stderr();
    let _ = match std::fs::write(&path, hosts) {
        Ok(()) => writeln!(err, "to retry, use: --limit @{}", path.display()),
        Err(error) => writeln!(err, "[WARNING]: no retry file can be written to `{}`: {error}", path.display()),
    };
}

fn failed(recap: &Recap) -> String {
    let lost = recap.hosts.iter().filter(|(_, counts)| counts.failed > 0 || counts.unreachable > 0);
    lost.map(|(host, _)| format!("{host}\n")).collect()
}

fn retry_path(playbook: &Path, directory: Option<&Path>) -> PathBuf {
    let path = playbook.with_extension("retry");
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::recap::Counts;

    #[test]
    fn hosts_that_were_lost_are_named_beside_the_playbook_or_in_the_directory_that_is_set() {
        let mut recap = Recap::default();
        recap.hosts.insert("a".into(), Counts { ok: 1, ..Counts::default() });
        recap.hosts.insert("b".into(), Counts { failed: 1, ..Counts::default() });
        recap.hosts.insert("c".into(), Counts { unreachable: 1, ..Counts::default() });
        assert_eq!(failed(&recap), "b\nc\n");
        assert_eq!(retry_path(Path::new("plays/site.yml"), None), Path::new("plays/site.retry"));
        assert_eq!(retry_path(Path::new("plays/site.yml"), Some(Path::new("/var"))), Path::new("/var/site.retry"));
    }
}
