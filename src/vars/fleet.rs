//! Every host's variables, kept by source, so that any task's scope can be put together in Ansible's order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::{Map, Value};

use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::{Inventory, LOCALHOST, Selected};

use super::cache::{Cache, GATHERED};
use super::known::{Known, Origin, magic_vars};
use super::{Layer, Scope, Var, VarsDirectory};

mod grown;

use grown::Added;

/// The variables of all hosts of a run. Shared by all hosts' tasks; `hostvars` reads it.
pub struct Fleet {
    inner: RwLock<Inner>,
    /// `-e`: stronger than everything a file says.
    extra: Arc<Layer>,
    /// Mappings of several levels are merged (`hash_behaviour`).
    merges: bool,
    /// Where facts are kept for later runs.
    cache: Option<Cache>,
}

struct Inner {
    inventory: Inventory,
    /// `group_vars/` and `host_vars/` beside each playbook.
    play: Vec<VarsDirectory>,
    /// Which of them the current play sees.
    current: Option<usize>,
    learnt: HashMap<String, HostVars>,
    /// What tasks have added to the inventory, in order.
    added: Vec<Added>,
    /// What the inventory and the variables files say of each host; emptied whenever they change.
    known: Option<Arc<Known>>,
}

/// What a run has learnt about one host.
#[derive(Clone)]
struct HostVars {
    /// Has `ansible_facts` even before any are known.
    facts: Arc<Layer>,
    included: Arc<Layer>,
    /// `set_fact` and `register`.
    set: Arc<Layer>,
    /// What is needed to know which variables there are beside these.
    more: Option<Arc<str>>,
    /// Its facts were gathered.
    gathered: bool,
}

impl Default for HostVars {
    fn default() -> HostVars {
        let facts = Layer::from([("ansible_facts".into(), Var::Known(Value::Object(Map::new())))]);
        HostVars { facts: Arc::new(facts), included: Arc::default(), set: Arc::default(), more: None, gathered: false }
    }
}

/// The layers that a task brings itself, beside those of its host (Ansible's precedence list, weakest first). Where there
/// are several of a kind, the later ones are stronger.
#[derive(Clone, Default)]
pub struct TaskLayers {
    pub role_defaults: Vec<Arc<Layer>>,
    pub play_vars: Arc<Layer>,
    pub vars_files: Arc<Layer>,
    pub role_vars: Vec<Arc<Layer>>,
    /// Block vars and task vars, merged by the loader, the inner ones winning.
    pub task_vars: Arc<Layer>,
    pub role_params: Arc<Layer>,
    pub include_params: Arc<Layer>,
    /// `item`, `ansible_loop`, and the like; stronger than all but what the runner itself says.
    pub loop_vars: Arc<Layer>,
    /// What the runner itself says of the task's role: `role_path`, ...
    pub role_magic: Arc<Layer>,
    /// What the runner itself says: `ansible_check_mode`, `play_hosts`, ... Shared by all hosts, whose names it holds.
    pub magic: Arc<Layer>,
}

impl Fleet {
    pub fn new(inventory: Inventory, extra: Layer) -> Fleet {
        let inner = Inner {
            inventory,
            play: Vec::new(),
            current: None,
            learnt: HashMap::new(),
            added: Vec::new(),
            known: None,
        };
        Fleet { inner: RwLock::new(inner), extra: Arc::new(extra), merges: false, cache: None }
    }

    /// Merges mappings of several levels, where that is asked for.
    pub fn merging(self, merges: bool) -> Fleet {
        Fleet { merges, ..self }
    }

    /// Recalls what earlier runs have kept of the hosts, and keeps what this one finds if it is to.
    pub fn recalling(self, cache: Cache, keeps: bool) -> Fleet {
        for host in self.hosts() {
            let facts = cache.read(&host);
            if facts.get(GATHERED) == Some(&Value::Bool(true)) {
                self.note_gathered(&host);
            }
            if !facts.is_empty() {
                self.add_facts(&host, facts);
            }
        }
        Fleet { cache: keeps.then_some(cache), ..self }
    }

    /// Keeps facts for later runs, where that is asked for.
    fn keep(&self, host: &str, facts: Map<String, Value>) {
        // The directory was there when the run began; a run does not fail because later ones know less.
        let _ = self.cache.as_ref().map(|cache| cache.add(host, facts));
    }

    /// Makes the `group_vars/` and `host_vars/` beside a playbook the ones that plays see, in place of another playbook's.
    /// The files are read the first time; the warnings about them are returned then.
    pub fn add_play_directory(&self, directory: &Path) -> Result<Vec<String>, Diagnostics> {
        let mut inner = self.write();
        let mut warnings = Vec::new();
        let known = inner.play.iter().position(|known| known.path == directory);
        let index = match known {
            Some(index) => index,
            None => {
                let mut opened = VarsDirectory::open(directory)?;
                inner.inventory.load_vars(&mut opened)?;
                warnings.append(&mut opened.warnings);
                inner.play.push(opened);
                inner.play.len() - 1
            }
        };
        if inner.current.replace(index) != Some(index) {
            inner.known = None;
        }
        Ok(warnings)
    }

    /// Returns what is known before any host is chosen: the extra vars.
    pub fn extra_scope(&self) -> Scope {
        Scope::new(vec![self.extra.clone()])
    }

    /// Returns what is known of a play before any host is chosen: its `vars`, and the extra vars.
    pub fn play_scope(&self, vars: &Arc<Layer>) -> Scope {
        Scope::new(vec![self.extra.clone(), vars.clone()])
    }

    /// Forgets what was gathered about a host (`meta: clear_facts`).
    pub fn clear_facts(&self, host: &str) {
        if let Some(cache) = &self.cache {
            cache.forget(host);
        }
        if let Some(learnt) = self.write().learnt.get_mut(host) {
            (learnt.facts, learnt.gathered) = (HostVars::default().facts, false);
        }
    }

    /// Notes that the facts of a host were gathered.
    pub fn note_gathered(&self, host: &str) {
        self.write().host(host).gathered = true;
        self.keep(host, Map::from_iter([(GATHERED.to_string(), true.into())]));
    }

    /// Tells whether the facts of a host were gathered in this run.
    pub fn has_facts(&self, host: &str) -> bool {
        self.read().learnt.get(host).is_some_and(|learnt| learnt.gathered)
    }

    /// Returns what a task on `host` sees, from Ansible's 22 levels; each is stronger than the ones above it:
    ///
    /// 1. command line values such as `-u` (the runner's, no variables)
    /// 2. role defaults
    /// 3. group variables of the inventory file: `all` first, then by depth, `ansible_group_priority` and name
    /// 4. inventory `group_vars/all`
    /// 5. playbook `group_vars/all`
    /// 6. inventory `group_vars/*`, in the order of 3
    /// 7. playbook `group_vars/*`
    /// 8. host variables of the inventory file
    /// 9. inventory `host_vars/*`
    /// 10. playbook `host_vars/*`
    /// 11. facts
    /// 12. play `vars`
    /// 13. play `vars_prompt` (in the same layer)
    /// 14. play `vars_files`
    /// 15. role `vars`
    /// 16. block `vars`
    /// 17. task `vars`
    /// 18. `include_vars`
    /// 19. `set_fact` and registered results
    /// 20. role parameters
    /// 21. include parameters
    /// 22. extra variables
    ///
    /// Above them stand, as in Ansible, the loop's variables and the magic ones.
    pub fn scope(self: &Arc<Fleet>, host: &str, task: &TaskLayers) -> Scope {
        let known = self.known();
        let inner = self.read();
        let learnt = inner.learnt.get(host).cloned().unwrap_or_default();
        let mut layers = Vec::with_capacity(24);
        layers.push(task.role_magic.clone());
        layers.push(task.magic.clone());
        layers.push(known.magic.get(host).cloned().unwrap_or_else(|| Arc::new(magic_vars(host, &[], None))));
        layers.extend([known.groups(&inner.inventory), task.loop_vars.clone(), self.extra.clone()]);
        layers.extend([task.include_params.clone(), task.role_params.clone()]);
        layers.extend([learnt.set, learnt.included, task.task_vars.clone()]);
        layers.extend(task.role_vars.iter().rev().cloned());
        layers.extend([task.vars_files.clone(), task.play_vars.clone(), learnt.facts]);
        layers.extend(known.hosts.get(host).unwrap_or(&known.all).iter().cloned());
        layers.extend(task.role_defaults.iter().rev().cloned());
        layers.retain(|layer| !layer.is_empty());
        if self.merges {
            layers.insert(0, Arc::new(super::merge::merged(&layers)));
        }
        Scope { fleet: Some(self.clone()), more: learnt.more, ..Scope::new(layers) }
    }

    /// Returns what `hostvars[host]` shows: everything but what belongs to a play or task.
    pub fn host_scope(self: &Arc<Fleet>, host: &str) -> Scope {
        self.scope(host, &TaskLayers::default())
    }

    /// Returns what the inventory and the variables files say of a host, and the extra vars: levels 3 to 10, and 22.
    pub fn inventory_vars(&self, host: &str) -> Layer {
        let known = self.known();
        let mut vars = Layer::new();
        for layer in known.hosts.get(host).unwrap_or(&known.all).iter().rev().chain([&self.extra]) {
            vars.extend(layer.iter().map(|(name, var)| (name.clone(), var.clone())));
        }
        vars
    }

    /// Returns what is written of a group itself: in the inventory, in its `group_vars/`, and in those beside the playbook.
    pub fn written_of_group(&self, name: &str) -> Layer {
        let inner = self.read();
        inner.written(inner.inventory.groups.get(name).map(|group| &group.vars), |directory| directory.group(name))
    }

    /// Returns what is written of a host itself, likewise.
    pub fn written_of_host(&self, name: &str) -> Layer {
        let inner = self.read();
        inner.written(inner.inventory.hosts.get(name).map(|host| &host.vars), |directory| directory.host(name))
    }

    /// Returns the names of all hosts of the inventory, in its order.
    pub fn hosts(&self) -> Vec<String> {
        self.read().inventory.members("all").into_iter().map(str::to_owned).collect()
    }

    /// Tells whether the host is in the inventory, or is this machine by one of its implied names.
    pub fn has_host(&self, host: &str) -> bool {
        LOCALHOST.contains(&host) || self.read().inventory.hosts.contains_key(host)
    }

    /// [`Inventory::select`], on the inventory as the run has made it.
    pub fn select(&self, pattern: &str) -> Result<Selected, Diagnostic> {
        self.read().inventory.select(pattern)
    }

    /// [`Inventory::limit`], on the inventory as the run has made it.
    pub fn limit(&self, limit: &str) -> Result<Vec<String>, Diagnostics> {
        self.read().inventory.limit(limit)
    }

    pub fn set_fact(&self, host: &str, name: &str, value: Var) {
        let mut inner = self.write();
        Arc::make_mut(&mut inner.host(host).set).insert(name.into(), value);
    }

    pub fn register(&self, host: &str, name: &str, value: Var) {
        self.set_fact(host, name, value);
    }

    /// Notes that a host may have got variables that only a run can name.
    pub fn perhaps_more(&self, host: &str, needs: &Arc<str>) {
        self.write().host(host).more.get_or_insert_with(|| needs.clone());
    }

    /// Adds what `include_vars` read on a host.
    pub fn include_vars(&self, host: &str, vars: Layer) {
        let mut inner = self.write();
        Arc::make_mut(&mut inner.host(host).included).extend(vars);
    }

    /// Takes over what a module found: each fact as `ansible_NAME`, as it is named, and below `ansible_facts`.
    ///
    /// A fact that would decide how the host is reached is only below `ansible_facts`: hosts have no say in that.
    pub fn add_facts(&self, host: &str, facts: Map<String, Value>) {
        if self.cache.is_some() {
            self.keep(host, facts.clone());
        }
        let mut inner = self.write();
        let layer = Arc::make_mut(&mut inner.host(host).facts);
        let mut all = match layer.shift_remove("ansible_facts") {
            Some(Var::Known(Value::Object(all))) => all,
            _ => Map::new(),
        };
        for (name, value) in facts {
            let short = name.strip_prefix("ansible_").unwrap_or(&name);
            if !decides_connection(short) {
                layer.insert(format!("ansible_{short}"), Var::Known(value.clone()));
            }
            // A module may name facts as it likes.
            if !name.starts_with("ansible_") {
                layer.insert(name.clone(), Var::Known(value.clone()));
            }
            all.insert(short.into(), value);
        }
        layer.insert("ansible_facts".into(), Var::Known(Value::Object(all)));
    }

    fn known(&self) -> Arc<Known> {
        if let Some(known) = &self.read().known {
            return known.clone();
        }
        let mut inner = self.write();
        let known = inner.known.take().unwrap_or_else(|| Arc::new(Known::new(inner.origin())));
        inner.known = Some(known.clone());
        known
    }

    // No code panics while it holds the lock half way through a change, so a poisoned one is still whole.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Returns what the inventory says itself, and above it what files of variables say.
    fn written<'i>(
        &'i self,
        own: Option<&'i Layer>,
        file: impl Fn(&'i VarsDirectory) -> Option<&'i Arc<Layer>>,
    ) -> Layer {
        let Origin { inventory, play } = self.origin();
        let files = inventory.directories.iter().chain(play).filter_map(file).map(Arc::as_ref);
        own.into_iter().chain(files).flatten().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    fn origin(&self) -> Origin<'_> {
        let play = self.current.map_or(&[][..], |index| &self.play[index..=index]);
        Origin { inventory: &self.inventory, play }
    }

    fn host(&mut self, host: &str) -> &mut HostVars {
        self.learnt.entry(host.into()).or_default()
    }
}

/// Names, without `ansible_`, that say how a host is reached and as whom.
fn decides_connection(name: &str) -> bool {
    let exact = ["connection", "host", "port", "user", "password", "shell_type", "remote_tmp", "timeout"];
    let key = name.starts_with("ssh_host_key_") && name != "ssh_host_key_checking";
    let prefix = ["ssh_", "become", "sudo_", "su_", "doas_", "paramiko_", "shell_", "private_key", "host_key_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    exact.contains(&name) || name.ends_with("_interpreter") || (prefix && !key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layer(name: &str, value: &str) -> Arc<Layer> {
        Arc::new(Layer::from([(name.into(), Var::Known(value.into()))]))
    }

    fn value(scope: &Scope, name: &str) -> Value {
        match scope.get(name) {
            Some(Var::Known(value)) => value.clone(),
            Some(Var::Written(node)) => node.to_value(),
            other => json!(format!("{other:?}")),
        }
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Where a variable can be set, the weakest first. `h` is in `child`, which is in `parent`.
    const LEVELS: [&str; 27] = [
        "role defaults of a parent role",
        "role defaults",
        "inventory [all:vars]",
        "inventory [parent:vars]",
        "inventory [child:vars]",
        "inventory group_vars/all",
        "playbook group_vars/all",
        "inventory group_vars/parent",
        "inventory group_vars/child",
        "playbook group_vars/parent",
        "playbook group_vars/child",
        "inventory host line",
        "inventory host_vars",
        "playbook host_vars",
        "facts",
        "play vars",
        "vars_files",
        "role vars of a parent role",
        "role vars",
        "task vars",
        "include_vars",
        "set_fact",
        "role params",
        "include params",
        "extra vars",
        "loop vars",
        "magic",
    ];

    /// Returns what a task sees of `ansible_v` when it is set at these levels, at each to the level's name.
    fn seen(levels: &[&str]) -> Value {
        let root = tempfile::tempdir().unwrap();
        let at = |level: &str| levels.contains(&level);
        let line = |level: &str| if at(level) { format!("ansible_v={level:?}\n") } else { String::new() };
        let hosts = format!(
            "[child]\nh {}\n[parent:children]\nchild\n[all:vars]\n{}[parent:vars]\n{}[child:vars]\n{}",
            if at("inventory host line") { "ansible_v='inventory host line'" } else { "" },
            line("inventory [all:vars]"),
            line("inventory [parent:vars]"),
            line("inventory [child:vars]"),
        );
        write(root.path(), "inventory/hosts", &hosts);
        std::fs::create_dir(root.path().join("playbook")).unwrap();
        for level in levels {
            match level.split_once(' ') {
                Some((side @ ("inventory" | "playbook"), "host_vars")) => {
                    write(root.path(), &format!("{side}/host_vars/h.yml"), &format!("ansible_v: {level}\n"));
                }
                Some((side @ ("inventory" | "playbook"), file)) if file.starts_with("group_vars") => {
                    write(root.path(), &format!("{side}/{file}.yml"), &format!("ansible_v: {level}\n"));
                }
                _ => {}
            }
        }
        let set = |level: &str| if at(level) { layer("ansible_v", level) } else { Arc::default() };
        let inventory = Inventory::load(&[root.path().join("inventory/hosts").display().to_string()]).unwrap();
        let fleet = Arc::new(Fleet::new(inventory, (*set("extra vars")).clone()));
        fleet.add_play_directory(&root.path().join("playbook")).unwrap();
        if at("facts") {
            fleet.add_facts("h", Map::from_iter([("v".into(), "facts".into())]));
        }
        fleet.include_vars("h", (*set("include_vars")).clone());
        if at("set_fact") {
            fleet.set_fact("h", "ansible_v", Var::Known("set_fact".into()));
        }
        let task = TaskLayers {
            role_defaults: vec![set("role defaults of a parent role"), set("role defaults")],
            play_vars: set("play vars"),
            vars_files: set("vars_files"),
            role_vars: vec![set("role vars of a parent role"), set("role vars")],
            task_vars: set("task vars"),
            role_params: set("role params"),
            include_params: set("include params"),
            loop_vars: set("loop vars"),
            role_magic: Arc::default(),
            magic: set("magic"),
        };
        value(&fleet.scope("h", &task), "ansible_v")
    }

    #[test]
    fn every_level_is_stronger_than_its_neighbour() {
        for pair in LEVELS.windows(2) {
            assert_eq!(seen(&pair[..1]), pair[0], "alone");
            assert_eq!(seen(pair), pair[1], "over `{}`", pair[0]);
        }
        assert_eq!(seen(&["magic"]), "magic");
    }

    #[test]
    fn every_level_is_stronger_than_all_below() {
        for count in 1..=LEVELS.len() {
            assert_eq!(seen(&LEVELS[..count]), LEVELS[count - 1]);
        }
    }

    fn fleet(hosts: &str) -> (tempfile::TempDir, Arc<Fleet>) {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "hosts", hosts);
        let inventory = Inventory::load(&[root.path().join("hosts").display().to_string()]).unwrap();
        (root, Arc::new(Fleet::new(inventory, Layer::new())))
    }

    #[test]
    fn a_host_knows_its_names_groups_and_inventory() {
        let (root, fleet) = fleet("lone\n[web]\nw1.example.com\n[site:children]\nweb\n");
        let scope = fleet.host_scope("w1.example.com");
        assert_eq!(value(&scope, "inventory_hostname"), "w1.example.com");
        assert_eq!(value(&scope, "inventory_hostname_short"), "w1");
        assert_eq!(value(&scope, "group_names"), json!(["site", "web"]));
        assert_eq!(value(&scope, "inventory_dir"), root.path().to_str().unwrap());
        assert_eq!(value(&scope, "inventory_file"), root.path().join("hosts").to_str().unwrap());
        let groups = json!({
            "all": ["lone", "w1.example.com"],
            "ungrouped": ["lone"],
            "web": ["w1.example.com"],
            "site": ["w1.example.com"],
        });
        assert_eq!(value(&scope, "groups"), groups);
        assert_eq!(value(&fleet.host_scope("lone"), "group_names"), json!(["ungrouped"]));
        assert_eq!(fleet.hosts(), ["lone", "w1.example.com"]);
    }

    #[test]
    fn the_implied_localhost_is_local_and_sees_group_vars_all() {
        let (_root, fleet) = fleet("[all:vars]\nx=1\n");
        let scope = fleet.host_scope("localhost");
        assert_eq!(value(&scope, "ansible_connection"), "local");
        assert_eq!(value(&scope, "x"), 1);
        assert_eq!(value(&scope, "inventory_hostname"), "localhost");
        assert_eq!(value(&scope, "group_names"), json!([]));
        assert!(fleet.has_host("localhost") && !fleet.has_host("elsewhere"));
        assert!(fleet.group_by("localhost", "here", &[]).unwrap());
        assert_eq!(fleet.select("here").unwrap().hosts, ["localhost"]);
        assert_eq!(value(&fleet.host_scope("localhost"), "ansible_connection"), "local");
    }

    #[test]
    fn facts_are_seen_both_ways_but_do_not_redirect_the_connection() {
        let (_root, fleet) = fleet("h ansible_host=192.0.2.1\n");
        assert_eq!(value(&fleet.host_scope("h"), "ansible_facts"), json!({}));
        let facts = json!({"ansible_os_family": "Debian", "host": "evil", "ssh_host_key_rsa_public": "AAAA"});
        fleet.add_facts("h", facts.as_object().unwrap().clone());
        for name in ["ssh_host_key_checking", "host_key_checking", "timeout", "private_key_file", "ssh_common_args"] {
            fleet.add_facts("h", Map::from_iter([(name.into(), "evil".into())]));
            assert!(fleet.host_scope("h").get(&format!("ansible_{name}")).is_none(), "{name}");
        }
        fleet.clear_facts("h");
        fleet.add_facts("h", facts.as_object().unwrap().clone());
        fleet.add_facts("h", Map::from_iter([("system".into(), "Linux".into())]));
        let scope = fleet.host_scope("h");
        let all = json!({"os_family": "Debian", "host": "evil", "ssh_host_key_rsa_public": "AAAA", "system": "Linux"});
        assert_eq!(value(&scope, "ansible_facts"), all);
        assert_eq!(value(&scope, "ansible_os_family"), "Debian");
        assert_eq!(value(&scope, "ansible_ssh_host_key_rsa_public"), "AAAA");
        assert_eq!(value(&scope, "ansible_host"), "192.0.2.1");
    }

    #[test]
    fn a_group_made_in_the_run_brings_its_group_vars() {
        let (root, _) = fleet("");
        write(root.path(), "hosts", "h\n");
        write(root.path(), "group_vars/os_Debian.yml", "service: ssh\n");
        write(root.path(), "host_vars/late.yml", "x: 1\n");
        let inventory = Inventory::load(&[root.path().join("hosts").display().to_string()]).unwrap();
        let fleet = Arc::new(Fleet::new(inventory, Layer::new()));
        assert!(fleet.host_scope("h").get("service").is_none());
        assert!(fleet.group_by("h", "os_Debian", &["all".into()]).unwrap());
        assert!(!fleet.group_by("h", "os_Debian", &["all".into()]).unwrap());
        assert_eq!(value(&fleet.host_scope("h"), "service"), "ssh");
        assert_eq!(fleet.select("os_Debian").unwrap().hosts, ["h"]);
        let vars = (*layer("y", "2")).clone();
        assert!(fleet.add_host("late", &["os_Debian".into()], vars.clone()).unwrap());
        assert!(!fleet.add_host("late", &["os_Debian".into()], vars).unwrap());
        let scope = fleet.host_scope("late");
        assert_eq!(
            [value(&scope, "x"), value(&scope, "y"), value(&scope, "service")],
            [json!(1), json!("2"), json!("ssh")]
        );
        assert_eq!(fleet.select("os_Debian").unwrap().hosts, ["h", "late"]);
        assert_eq!(value(&scope, "group_names"), json!(["os_Debian"]));
        assert_eq!(value(&scope, "groups"), json!({"all": ["late", "h"], "ungrouped": [], "os_Debian": ["h", "late"]}));
    }

    #[test]
    fn a_play_sees_only_its_own_playbooks_group_vars() {
        let (root, fleet) = fleet("h\n");
        write(root.path(), "one/group_vars/all.yml", "x: one\n");
        write(root.path(), "two/group_vars/all.yml", "y: two\n");
        fleet.add_play_directory(&root.path().join("one")).unwrap();
        fleet.add_play_directory(&root.path().join("two")).unwrap();
        let scope = fleet.host_scope("h");
        assert!(scope.get("x").is_none() && scope.get("y").is_some());
        fleet.add_play_directory(&root.path().join("one")).unwrap();
        assert_eq!(value(&fleet.host_scope("h"), "x"), "one");
    }

    #[test]
    fn what_one_host_learns_another_does_not_see() {
        let (_root, fleet) = fleet("a\nb\n");
        fleet.register("a", "result", Var::Unknown("result of task `x`".into()));
        let scope = fleet.host_scope("b");
        assert!(scope.get("result").is_none());
        let other = scope.fleet.unwrap().host_scope("a");
        assert!(matches!(other.get("result"), Some(Var::Unknown(_))));
    }
}
