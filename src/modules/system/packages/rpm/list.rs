//! What `list` of `dnf` tells: packages that are installed, to be had or to be upgraded, and repositories.

use serde_json::{Value, json};

use crate::host::View;
use crate::modules::{ModuleError, Planned, Results};

use super::transaction::{Tool, quiet};

/// What dnf prints of a package.
const FORMAT: &str = "--queryformat=%{name} %{arch} %{epoch} %{version} %{release} %{repoid}\\n";

pub async fn listed(host: &View, tool: &Tool, what: &str) -> Result<Planned, ModuleError> {
    let queries: &[(&str, &str)] = match what {
        "repos" | "repositories" => &[],
        "installed" => &[("--installed", "installed")],
        "available" => &[("--available", "available")],
        "updates" | "upgrades" => &[("--upgrades", "available")],
        _ => &[("--installed", "installed"), ("--available", "available")],
    };
    let all = ["repos", "repositories", "installed", "available", "updates", "upgrades"];
    let names = if all.contains(&what) { Vec::new() } else { vec![what.to_string()] };
    let mut found = Vec::new();
    if queries.is_empty() {
        let line = tool.line(&["-q".into(), "repolist".into(), "--enabled".into()], &[]);
        let text = host.probe(&quiet(&line)).await?.text();
        let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        found.extend(names.map(|name| json!({"repoid": name, "state": "enabled"})));
    }
    for (flag, state) in queries {
        let verb = ["-q", "repoquery", flag, FORMAT].map(str::to_string);
        let output = host.probe(&quiet(&tool.line(&verb, &names))).await?;
        if !output.success() {
            return Err(ModuleError::failed(output.error_text().trim_end()));
        }
        found.extend(output.text().lines().filter_map(|line| package(line, state)));
    }
    let result = [("msg".to_string(), json!("")), ("results".into(), Value::Array(found))];
    Ok(Planned::new(Vec::new(), Results::from_iter(result)))
}

fn package(line: &str, state: &str) -> Option<Value> {
    let [name, arch, epoch, version, release, repo] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    let whole = format!("{epoch}:{name}-{version}-{release}.{arch}");
    let repo = if state == "installed" { "@System" } else { repo };
    Some(json!({
        "name": name, "arch": arch, "epoch": epoch, "version": version, "release": release, "repo": repo,
        "envra": whole, "nevra": whole, "yumstate": state,
    }))
}
