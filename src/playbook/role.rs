//! A role: found, its defaults, vars, tasks and handlers read, those it depends on before it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostic, Place};
use crate::vars::{Layer, files, layer_of};
use crate::yaml::{Data, Yaml};

use super::files::{all_files, first_file, not_found};
use super::include::RoleFiles;
use super::inherit::over;
use super::keywords::Kind;
use super::reader::{Reader, normal};
use super::{Block, Keywords, Role, Step};

/// A role as asked for.
pub(super) struct Wanted {
    pub name: String,
    pub place: Place,
    pub from: RoleFiles,
    pub params: Layer,
    /// How it was listed: again in the same way, it is the same role.
    pub listing: String,
    /// Whether it runs where it has run already; as its own meta file says unless given.
    pub again: Option<bool>,
}

impl Reader<'_> {
    /// Reads `roles:` or the `dependencies:` of a role.
    pub fn roles(&mut self, list: Option<&Yaml>, parent: &Keywords) -> Vec<Step> {
        let items = list.and_then(Yaml::as_list).unwrap_or(&[]);
        items.iter().flat_map(|item| self.listed_role(item, parent)).collect()
    }

    fn listed_role(&mut self, node: &Yaml, parent: &Keywords) -> Vec<Step> {
        let name = match &*node.data {
            Data::Text(_) => Some(node),
            Data::Map(_) => node.get("role").or_else(|| node.get("name")),
            _ => None,
        };
        let Some(name) = name.filter(|name| name.as_str().is_some()) else {
            let message = format!("a role should be its name or a mapping with `role`, not {}", node.kind());
            let message = if node.as_map().is_some() { "this role has no name".into() } else { message };
            self.errors.push(Diagnostic::new(message).at(&node.place).hint("write `- NAME` or `- role: NAME`"));
            return Vec::new();
        };
        let instead = "roles are read before anything runs; use `include_role`";
        let keywords = self.keywords(node, Kind::Role, parent);
        let Some(text) = self.fixed(name, parent, instead) else { return Vec::new() };
        let pairs = node.as_map().unwrap_or(&[]).iter();
        let own: Vec<_> = pairs.filter(|(key, _)| Kind::Role.find(&key.key()).is_none()).cloned().collect();
        let params = layer_of(&Yaml { data: Data::Map(own).into(), ..node.clone() });
        let (listing, place) = (listing(node), name.place.clone());
        let from = RoleFiles::default();
        self.role(Wanted { name: text, place, from, params, listing, again: None }, keywords)
    }

    /// Returns the role's tasks as a block, after those of the roles it depends on. Its handlers are kept in the reader.
    pub fn role(&mut self, wanted: Wanted, keywords: Keywords) -> Vec<Step> {
        let Some(path) = self.find_role(&wanted, keywords.role.as_deref()) else { return Vec::new() };
        self.loader.library.add(&path.join("library"));
        let meta = self.part_files(&path, "meta", None, &wanted.place).pop();
        // A cycle must be seen before the second listing of a role is taken for a duplicate.
        if meta.as_ref().is_some_and(|meta| self.is_cycle(meta, &wanted.place)) {
            return Vec::new();
        }
        let again = wanted.again.unwrap_or_else(|| meta.as_ref().is_some_and(|meta| self.allows_duplicates(meta)));
        let listing = format!("{} {}", path.display(), wanted.listing);
        // Where there is a condition, only a run knows whether the first listing comes to anything.
        let certain = keywords.when.is_empty() && !again;
        if certain && !self.roles_done.insert(format!("{listing} {:?}", keywords.tags)) {
            return Vec::new();
        }
        let role = Arc::new(self.read_role(&wanted, &path, &keywords, (listing, again)));
        let inside = Keywords { name: None, role: Some(role.clone()), ..keywords };
        let dependencies = meta.and_then(|meta| {
            self.within(&meta, &wanted.place, |reader, document| reader.dependencies(document.as_ref(), &inside))
        });
        let mut steps = dependencies.unwrap_or_default();
        self.exports.push(role);
        let from = wanted.from.tasks.as_deref();
        let mut tasks: Vec<Step> = self.validation(&wanted, &path, &inside).into_iter().collect();
        tasks.extend(self.role_part(&path, ("tasks", from, &wanted.place), &inside, Reader::steps));
        let from = wanted.from.handlers.as_deref();
        let handlers = self.role_part(&path, ("handlers", from, &wanted.place), &inside, Reader::handlers);
        self.handlers.extend(handlers);
        let block = Block { keywords: Arc::new(inside), block: tasks, rescue: Vec::new(), always: Vec::new() };
        steps.push(Step::Block(Arc::new(block)));
        steps
    }

    fn read_role(
        &mut self,
        wanted: &Wanted,
        path: &Path,
        keywords: &Keywords,
        (listing, again): (String, bool),
    ) -> Role {
        let mut parents = Vec::new();
        let mut params = Layer::new();
        if let Some(parent) = &keywords.role {
            parents.extend(parent.parents.iter().cloned().chain([parent.clone()]));
            params.extend(parent.params.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Role {
            name: wanted.name.rsplit('/').next().unwrap_or(&wanted.name).into(),
            path: std::path::absolute(path).unwrap_or_else(|_| path.into()),
            defaults: Arc::new(self.role_vars(path, "defaults", wanted.from.defaults.as_deref(), &wanted.place)),
            vars: Arc::new(self.role_vars(path, "vars", wanted.from.vars.as_deref(), &wanted.place)),
            params: Arc::new(over(&params, wanted.params.clone())),
            parents,
            listing: listing.into(),
            again,
        }
    }

    fn allows_duplicates(&self, meta: &Path) -> bool {
        // A file that cannot be read is noted when the dependencies are.
        let document = self.loader.files.document(meta).ok().flatten();
        let allowed = document.as_ref().and_then(|meta| meta.get("allow_duplicates"));
        allowed.is_some_and(|value| matches!(&*value.data, Data::Bool(true)))
    }

    fn dependencies(&mut self, meta: Option<&Yaml>, inside: &Keywords) -> Vec<Step> {
        let Some(meta) = meta else { return Vec::new() };
        if meta.as_map().is_none() {
            let message = format!("the meta file of a role should be a mapping, not {}", meta.kind());
            self.errors.push(Diagnostic::new(message).at(&meta.place));
        }
        let dependencies = meta.get("dependencies").filter(|list| !list.is_null());
        if let Some(wrong) = dependencies.filter(|list| list.as_list().is_none()) {
            let message = format!("`dependencies` should be a list, not {}", wrong.kind());
            self.errors.push(Diagnostic::new(message).at(&wrong.place));
        }
        self.roles(dependencies, inside)
    }

    /// Reads a role's tasks or handlers from the file that `(part, from, place)` asks for.
    fn role_part<T>(
        &mut self,
        path: &Path,
        (part, from, place): (&str, Option<&str>, &Place),
        inside: &Keywords,
        read: fn(&mut Self, Option<&Yaml>, &Arc<Keywords>) -> Vec<T>,
    ) -> Vec<T> {
        let Some(file) = self.part_files(path, part, from, place).pop() else { return Vec::new() };
        let directory = file.parent().unwrap_or(path).to_path_buf();
        let inside = Arc::new(Keywords { directory, ..inside.clone() });
        self.within(&file, place, |reader, document| read(reader, document.as_ref(), &inside)).unwrap_or_default()
    }

    fn role_vars(&mut self, path: &Path, part: &str, from: Option<&str>, place: &Place) -> Layer {
        let files = self.part_files(path, part, from, place);
        files.iter().flat_map(|file| self.vars_of(file, place)).collect()
    }

    /// Returns the variables of one file.
    pub fn vars_of(&mut self, file: &Path, place: &Place) -> Layer {
        let document = self.loader.files.document(file).map_err(|error| error.or_at(place));
        let Some(Some(root)) = self.errors.catch(document) else { return Layer::new() };
        files::hide_values(file, &root);
        if root.as_map().is_none() {
            let message = format!("a file of variables should be a mapping, not {}", root.kind());
            self.errors.push(Diagnostic::new(message).at(&root.place).hint("write `name: value`, without `- `"));
        }
        layer_of(&root)
    }

    /// Reads a file of variables, looked for in `vars/` of each directory, then in it.
    pub fn vars_file(&mut self, name: &str, directories: &[PathBuf], place: &Place) -> Layer {
        let candidates = vars_candidates(name, directories);
        match first_file(candidates.iter().cloned()) {
            Some(file) => self.vars_of(&file, place),
            None => {
                self.errors.push(not_found(&format!("`{name}`"), &candidates, place));
                Layer::new()
            }
        }
    }

    /// Returns the files of one part of a role: `main`, or the one that was asked for, which must be there.
    fn part_files(&mut self, role: &Path, part: &str, from: Option<&str>, place: &Place) -> Vec<PathBuf> {
        let name = from.unwrap_or("main");
        let directory = role.join(part);
        let mut candidates = [".yml", ".yaml", ".json", ""].map(|ending| directory.join(format!("{name}{ending}")));
        if from.is_some() {
            candidates.rotate_right(1);
        }
        if let Some(file) = first_file(candidates.iter().cloned()) {
            return vec![file];
        }
        let all = directory.join(name);
        if matches!(part, "vars" | "defaults") && all.is_dir() {
            return all_files(&all);
        }
        // Ansible, too, takes a missing `handlers_from` for an error and a missing `main` for an empty one.
        if from.is_some() {
            self.errors.push(not_found(&format!("`{part}/{name}` of the role"), &candidates, place));
        }
        Vec::new()
    }

    fn find_role(&mut self, wanted: &Wanted, parent: Option<&Role>) -> Option<PathBuf> {
        let beside = parent.and_then(|role| role.path.parent()).map(Path::to_path_buf);
        let bases = [self.directory.join("roles")].into_iter();
        let bases = bases.chain(self.loader.roles_path.iter().cloned()).chain(beside).chain([self.directory.clone()]);
        let plain = bases.map(|base| normal(&base.join(&wanted.name)));
        let candidates: Vec<PathBuf> = match of_collection(&wanted.name) {
            Some(below) => {
                let places = self.loader.library.collections(&self.directory);
                places.iter().map(|place| normal(&place.join(&below))).chain(plain).collect()
            }
            None => plain.collect(),
        };
        let found = candidates.iter().find(|path| !wanted.name.is_empty() && path.is_dir()).cloned();
        if found.is_none() {
            let missing = not_found(&format!("role `{}`", wanted.name), &candidates, &wanted.place);
            self.errors.push(match wanted.name.matches('.').count() {
                2.. => missing.hint("collections are in `collections/ansible_collections/` beside the playbook"),
                _ => missing,
            });
        }
        found
    }
}

/// Returns where a collection has the role of a name such as `ns.collection.role`, below `ansible_collections`.
fn of_collection(name: &str) -> Option<PathBuf> {
    let mut parts = name.split('.');
    let (namespace, collection) = (parts.next()?, parts.next()?);
    let role = parts.collect::<PathBuf>();
    let is_name = !name.contains('/') && !role.as_os_str().is_empty();
    is_name.then(|| [namespace, collection, "roles"].iter().collect::<PathBuf>().join(role))
}

/// Returns where a file of variables is looked for: in `vars/` of each directory, then in it.
pub(super) fn vars_candidates(name: &str, directories: &[PathBuf]) -> Vec<PathBuf> {
    let in_each = |directory: &PathBuf| [directory.join("vars").join(name), directory.join(name)];
    directories.iter().flat_map(in_each).map(|path| normal(&path)).collect()
}

/// Returns how a role was listed, beside its name: two of the same text are the same role.
fn listing(node: &Yaml) -> String {
    let pairs = node.as_map().unwrap_or(&[]).iter();
    let own: Vec<_> = pairs.filter(|(key, _)| !matches!(key.as_str(), Some("role" | "name"))).cloned().collect();
    Yaml { data: Data::Map(own).into(), ..node.clone() }.to_value().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::testing::{Tree, of_layer};

    const SITE: &str = "\
- hosts: mail
  pre_tasks: [{ping: }]
  roles:
    - base
    - role: web
      listen_on: 80
      vars: {name_of: x}
      tags: w
      when: is_web
    - base
    - {role: base, size: 2}
  tasks:
    - command: restart
      notify: ['web : reload', all of them]
    - import_role: {name: extra, tasks_from: other}
      tags: e
  handlers:
    - name: own
      ping:
      listen: all of them
";

    fn tree() -> Tree {
        Tree::new(&[
            ("site.yml", SITE),
            ("roles/base/tasks/main.yml", "- command: base\n"),
            ("roles/base/defaults/main.yml", "size: 1\n"),
            ("roles/web/meta/main.yml", "dependencies:\n  - base\n  - role: lib\n    level: 3\n"),
            ("roles/web/tasks/main.yaml", "- import_tasks: sub.yml\n- copy: src=a dest=/b\n  notify: reload\n"),
            ("roles/web/tasks/sub.yml", "- command: sub\n  tags: s\n"),
            ("roles/web/handlers/main.yml", "- name: reload\n  service: name=web state=reloaded\n"),
            ("roles/web/vars/main/b.yml", "b: 2\n"),
            ("roles/web/vars/main/a.yml", "a: 1\n"),
            ("roles/lib/tasks/main.yml", "- command: lib\n"),
            ("roles/extra/tasks/main.yml", "- command: main\n"),
            ("roles/extra/tasks/other.yml", "- command: other\n"),
        ])
    }

    #[test]
    fn roles_stand_in_their_order_with_those_they_depend_on_before_them() {
        assert_eq!(
            tree().outline(),
            "play mail
 pre
  ping
 roles
  block of base
    command <base>
  block of base
    command <base> when:is_web tags:w vars:name_of=\"x\"
  block of lib
    command <lib> when:is_web tags:w vars:name_of=\"x\"
  block of web
    command <sub> when:is_web tags:w&s vars:name_of=\"x\"
    copy src=\"a\" dest=\"/b\" notify:[\"reload\"] when:is_web tags:w vars:name_of=\"x\"
  block of base
    command <base>
  command <restart> notify:[\"web : reload\", \"all of them\"]
  block of extra
    command <other> tags:e
 handler service name=\"web\" state=\"reloaded\" when:is_web tags:w vars:name_of=\"x\"
 handler ping
"
        );
    }

    #[test]
    fn a_role_sees_its_files_and_parameters() {
        let tree = tree();
        let play = tree.load().unwrap().plays.remove(0);
        let names: Vec<&str> = play.exports.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(names, ["base", "base", "lib", "web", "base", "extra"]);
        let [base, again, lib, web, sized, extra] = &play.exports[..] else { panic!() };
        assert_eq!(of_layer(&base.defaults), ["size=1"]);
        assert_eq!(of_layer(&web.vars), ["a=1", "b=2"]);
        assert_eq!(of_layer(&web.params), ["listen_on=80"]);
        assert_eq!(of_layer(&lib.params), ["listen_on=80", "level=3"]);
        assert_eq!(of_layer(&sized.params), ["size=2"]);
        assert_eq!(web.path, tree.path("roles/web"));
        assert_eq!(lib.parents[0].name, "web");
        assert!(!base.again && base.listing == again.listing && base.listing != sized.listing);
        assert!(extra.again);
    }

    #[test]
    fn an_allowed_duplicate_runs_again() {
        let tree = Tree::new(&[
            ("site.yml", "- hosts: all\n  roles: [a, a]\n"),
            ("roles/a/meta/main.yml", "allow_duplicates: yes\n"),
            ("roles/a/tasks/main.yml", "- ping:\n"),
        ]);
        assert_eq!(tree.load().unwrap().plays[0].roles.len(), 2);
        std::fs::write(tree.path("roles/a/meta/main.yml"), "galaxy_info: {}\n").unwrap();
        let fresh = super::super::Loader::new(tree.loader.actions.clone());
        assert_eq!(super::super::load(&tree.path("site.yml"), &fresh).unwrap().plays[0].roles.len(), 1);
    }

    #[test]
    fn roles_that_depend_on_each_other_are_refused() {
        let tree = Tree::new(&[
            ("site.yml", "- hosts: all\n  roles: [a]\n"),
            ("roles/a/meta/main.yml", "dependencies: [b]\n"),
            ("roles/b/meta/main.yml", "dependencies:\n  - a\n"),
        ]);
        assert_eq!(
            tree.load().unwrap_err(),
            "error: `roles/a/meta/main.yml` leads back to itself\n --> roles/b/meta/main.yml:2:5\n  |\n2 |   - a\n  |     ^\n  |\n  = hint: site.yml -> roles/a/meta/main.yml -> roles/b/meta/main.yml -> roles/a/meta/main.yml"
        );
    }

    #[test]
    fn a_role_is_found_in_the_roles_path() {
        let mut tree =
            Tree::new(&[("site.yml", "- hosts: all\n  roles: [a]\n"), ("lib/a/tasks/main.yml", "- ping:\n")]);
        tree.loader.roles_path = vec![tree.path("lib")];
        assert!(matches!(&tree.load().unwrap().plays[0].roles[0], Step::Block(block) if block.block.len() == 1));
    }

    #[test]
    fn errors_inside_a_role_show_their_file() {
        let tree = Tree::new(&[
            ("site.yml", "- hosts: all\n  roles:\n    - a\n"),
            ("roles/a/tasks/main.yml", "- cpoy: x\n"),
            ("roles/a/vars/main.yml", "- a\n"),
            ("roles/a/defaults/main.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n"),
        ]);
        let error = tree.load().unwrap_err();
        assert_eq!(
            error,
            "error: this was encrypted with ansible-vault, and no password was given\n --> roles/a/defaults/main.yml:1:1\n  |\n1 | $ANSIBLE_VAULT;1.1;AES256\n  | ^^^^^^^^^^^^^^^^^^^^^^^^^\n  |\n  = hint: `--vault-id ID@FILE`, `--vault-password-file FILE` or `--ask-vault-pass`\n\nerror: a file of variables should be a mapping, not a list\n --> roles/a/vars/main.yml:1:1\n  |\n1 | - a\n  | ^\n  |\n  = hint: write `name: value`, without `- `\n\nerror: unknown module or keyword `cpoy`\n --> roles/a/tasks/main.yml:1:3\n  |\n1 | - cpoy: x\n  |   ^^^^\n  |\n  = hint: did you mean `copy`?"
        );
    }
}
