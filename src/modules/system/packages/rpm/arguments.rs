//! What `dnf` can be told, and what that is on its command line.

use crate::modules::{Argument, Kind};

use super::Fields;

/// What the program may be called.
const PROGRAMS: &[&str] = &["auto", "dnf", "dnf4", "dnf5", "yum", "yum4"];

pub const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "name",
        Kind::List,
        "Packages: `name`, `name-version`, `name >= version`, a pattern of names, `@group`, a file that one provides, an `.rpm` of \
         the host or an URL. `*` with `state: latest` is all that is there.",
    )
    .alias(&["pkg"]),
    Argument::new(
        "state",
        Kind::Text,
        "`latest` upgrades what is there. The default is `present`, and with `autoremove` it is `absent`.",
    )
    .choices(&["absent", "installed", "latest", "present", "removed"]),
    Argument::new("autoremove", Kind::Bool, "What came along and nobody needs any more goes too."),
    Argument::new("update_cache", Kind::Bool, "What repositories have is read anew, however young the cache is.")
        .alias(&["expire-cache"]),
    Argument::new("allow_downgrade", Kind::Bool, "`name-version` may be older than what is there."),
    Argument::new("lock_timeout", Kind::Int, "Seconds to wait for who has dnf's lock. The default is 30."),
    Argument::new("use", Kind::Text, "The older name of `use_backend`.").choices(PROGRAMS),
    Argument::new("auto_install_module_deps", Kind::Bool, "Nothing is needed that could be installed."),
    Argument::new(
        "list",
        Kind::Text,
        "Lists `installed`, `available`, `updates`, `repos`, or the packages of a name, as `results`.",
    ),
    Argument::new("update_only", Kind::Bool, "Nothing is installed that is not there; what is there is upgraded."),
    Argument::new("cacheonly", Kind::Bool, "Nothing is fetched: the cache is taken as it is."),
    Argument::new("allowerasing", Kind::Bool, "What is in the way is removed."),
    Argument::new("best", Kind::Bool, "It fails where the best version cannot be had. The default is the host's."),
    Argument::new("nobest", Kind::Bool, "The other way round."),
    Argument::new("skip_broken", Kind::Bool, "What does not fit is left out."),
    Argument::new("bugfix", Kind::Bool, "With `state: latest`, only what mends a bug."),
    Argument::new("security", Kind::Bool, "With `state: latest`, only what closes a hole."),
    Argument::new("install_weak_deps", Kind::Bool, "Whether recommended packages come along. The default is the host's."),
    Argument::new("enablerepo", Kind::List, "Repositories that are asked beside those that are enabled."),
    Argument::new("disablerepo", Kind::List, "Repositories that are not asked."),
    Argument::new("exclude", Kind::List, "Packages that are left as they are."),
    Argument::new("disable_excludes", Kind::Text, "Whose own list of such packages is not looked at: `all`, `main` or a repository."),
    Argument::new("enable_plugin", Kind::List, "Plugins of dnf that take part."),
    Argument::new("disable_plugin", Kind::List, "Plugins of dnf that do not."),
    Argument::new("disable_gpg_check", Kind::Bool, "Packages without a good signature are taken."),
    Argument::new("sslverify", Kind::Bool, "`false` trusts any certificate of a repository."),
    Argument::new("validate_certs", Kind::Bool, "`false` trusts any certificate of the server that a package comes from."),
    Argument::new("conf_file", Kind::Path, "The configuration of dnf, on the host."),
    Argument::new("releasever", Kind::Text, "The release that versions come from."),
    Argument::new("installroot", Kind::Path, "The root directory of the packages. The default is `/`."),
    Argument::new("download_only", Kind::Bool, "Packages are fetched, and not installed."),
    Argument::new("download_dir", Kind::Path, "The directory that they are fetched to. The default is dnf's cache."),
    Argument::new("use_backend", Kind::Text, "The program. The default is the first that is there.").choices(PROGRAMS),
    Argument::new("install_repoquery", Kind::Bool, "Nothing is needed that could be installed."),
];

/// Those that apt has not.
pub const OWN: &[Argument] = ARGUMENTS.split_at(8).1;

/// Returns the options of dnf for a simulation and for a run.
pub fn options(fields: &Fields) -> Vec<String> {
    let mut words = Vec::new();
    let best = fields.best.or(fields.nobest.map(|nobest| !nobest));
    let trusts = fields.sslverify == Some(false) || fields.validate_certs == Some(false);
    let python = |value: bool| if value { "True" } else { "False" };
    for (name, value) in [
        ("best", best.map(python)),
        ("install_weak_deps", fields.install_weak_deps.map(python)),
        ("sslverify", trusts.then_some("False")),
        ("disable_excludes", fields.disable_excludes.as_deref()),
    ] {
        words.extend(value.map(|value| format!("--setopt={name}={value}")));
    }
    for (name, value) in [
        ("config", &fields.conf_file),
        ("releasever", &fields.releasever),
        ("installroot", &fields.installroot.clone().filter(|root| root != "/")),
        ("downloaddir", &fields.download_dir.clone().filter(|_| fields.download_only)),
    ] {
        words.extend(value.as_ref().map(|value| format!("--{name}={value}")));
    }
    for (name, values) in [
        ("disablerepo", &fields.disablerepo),
        ("enablerepo", &fields.enablerepo),
        ("exclude", &fields.exclude),
        ("disableplugin", &fields.disable_plugin),
        ("enableplugin", &fields.enable_plugin),
    ] {
        let each = values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty());
        words.extend(each.map(|value| format!("--{name}={value}")));
    }
    for (asked, flag) in [
        (fields.cacheonly, "--cacheonly"),
        (fields.download_only, "--downloadonly"),
        (fields.allowerasing, "--allowerasing"),
        (fields.skip_broken, "--skip-broken"),
        (fields.bugfix, "--bugfix"),
        (fields.security, "--security"),
        (fields.disable_gpg_check, "--nogpgcheck"),
    ] {
        words.extend(asked.then(|| flag.to_string()));
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_for_becomes_options_of_dnf() {
        let fields: Fields = serde_json::from_value(json!({
            "nobest": true, "install_weak_deps": false, "sslverify": false, "disable_excludes": "all", "releasever": "9",
            "installroot": "/mnt", "download_dir": "/tmp", "disablerepo": ["*"], "enablerepo": ["lab,extra"], "exclude": ["kernel*"],
            "disable_plugin": ["x"], "allowerasing": true, "security": true, "disable_gpg_check": true, "conf_file": "/etc/d.conf",
        }))
        .unwrap();
        let expected = "--setopt=best=False --setopt=install_weak_deps=False --setopt=sslverify=False \
            --setopt=disable_excludes=all --config=/etc/d.conf --releasever=9 --installroot=/mnt --disablerepo=* --enablerepo=lab \
            --enablerepo=extra --exclude=kernel* --disableplugin=x --allowerasing --security --nogpgcheck";
        assert_eq!(options(&fields).join(" "), expected);
    }
}
