//! Which packages that come are wanted for themselves: apt takes the others for automatic.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;
use crate::transport::command::quote;

use super::database::{Database, Name};
use super::foreseen::{self, Lists};
use super::request::Request;
use super::simulation::Fate;

/// Returns those of the packages that would come which the sources themselves ask for.
pub async fn of_sources(
    (host, database): (&View, &Database),
    lists: Lists,
    requests: &[Request],
    fates: &BTreeMap<Name, Fate>,
) -> Result<BTreeSet<Name>, ModuleError> {
    if fates.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sources: Vec<String> = requests.iter().map(|request| quote(&request.name)).collect();
    let foreseen = foreseen::script(database, lists);
    let script = format!("{foreseen}apt-cache $foreseen showsrc {}", sources.join(" "));
    let mut needed = needed(&host.probe(&Command::shell(script)).await?.text());
    providers((host, database), fates, &mut needed).await?;
    let comes = |name: &&Name| matches!(fates[*name], Fate::Installed(_));
    let is_needed = |name: &&Name| needed.contains(name.split(':').next().unwrap_or(name));
    Ok(fates.keys().filter(comes).filter(is_needed).cloned().collect())
}

/// Names what apt takes for a virtual package that is named.
pub async fn providers(
    (host, database): (&View, &Database),
    fates: &BTreeMap<Name, Fate>,
    named: &mut BTreeSet<Name>,
) -> Result<(), ModuleError> {
    let nobody = |name: &&Name| !fates.contains_key(*name) && database.state(name).version().is_none();
    let virtuals: Vec<String> = named.iter().filter(nobody).map(|name| quote(name)).collect();
    if virtuals.is_empty() {
        return Ok(());
    }
    let script =
        format!("LC_ALL=C apt-cache showpkg {} | sed -n '/^Reverse Provides/,/^Package/p'", virtuals.join(" "));
    let text = host.probe(&Command::shell(script)).await?.text();
    let providers = text.lines().filter_map(|line| line.split(' ').next());
    named.extend(providers.filter(|name| fates.contains_key(*name)).map(str::to_string));
    Ok(())
}

/// Reads the names of packages in the fields about building of source packages, and the one that none of them names.
fn needed(text: &str) -> BTreeSet<Name> {
    // A field goes on in lines that start with a space.
    let text = text.replace("\n ", " ");
    let fields = text.lines().filter_map(|line| line.split_once(": "));
    let of_building = fields.filter(|(name, _)| name.starts_with("Build-Depends"));
    let names = of_building.flat_map(|(_, value)| value.split([',', '|']));
    let names = names.map(|name| name.trim().split([' ', ':', '(', '[', '<']).next().unwrap_or(""));
    names.filter(|name| !name.is_empty()).chain(["build-essential"]).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_source_name_packages() {
        let text = "Package: tools\nBuild-Depends: extra (>= 1.0), printer |\n rival:native [amd64] <!nocheck>\nBuild-Depends-Indep: library\n\
            Build-Conflicts: none\nDepends: other\n";
        assert_eq!(
            needed(text).into_iter().collect::<Vec<_>>(),
            ["build-essential", "extra", "library", "printer", "rival"]
        );
    }
}
