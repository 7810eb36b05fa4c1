//! Ansible's 22 levels of variable precedence: each is stronger than all that stand above it in the table.

use crate::program::Program;

/// Where a variable of each level stands: a file and the lines around the variables, or what the test does for it.
enum Where {
    /// `name: value` lines in a file.
    Yaml(&'static str),
    /// `name=value` lines of the inventory, below this line.
    Ini(&'static str),
    /// On the host's own line of the inventory.
    HostLine,
    /// Mappings in the playbook, in place of this word.
    Inline(&'static str),
    /// What a module tells of the host.
    Facts,
    /// `-e`.
    Flag,
}

/// From the weakest to the strongest; the first level of the documentation is that of flags that are no variables.
const LEVELS: &[(&str, Where)] = &[
    ("role defaults", Where::Yaml("roles/layers/defaults/main.yml")),
    ("inventory file group vars", Where::Ini("[web:vars]")),
    ("inventory group_vars/all", Where::Yaml("inventory/group_vars/all.yml")),
    ("playbook group_vars/all", Where::Yaml("group_vars/all.yml")),
    ("inventory group_vars/*", Where::Yaml("inventory/group_vars/web.yml")),
    ("playbook group_vars/*", Where::Yaml("group_vars/web.yml")),
    ("inventory file host vars", Where::HostLine),
    ("inventory host_vars/*", Where::Yaml("inventory/host_vars/h.yml")),
    ("playbook host_vars/*", Where::Yaml("host_vars/h.yml")),
    ("host facts", Where::Facts),
    ("play vars", Where::Inline("PLAY")),
    ("play vars_prompt", Where::Inline("PROMPT")),
    ("play vars_files", Where::Yaml("play.vars.yml")),
    ("role vars", Where::Yaml("roles/layers/vars/main.yml")),
    ("block vars", Where::Inline("BLOCK")),
    ("task vars", Where::Inline("TASK")),
    ("include_vars", Where::Yaml("included.yml")),
    ("set_fact", Where::Inline("FACT")),
    ("role parameters", Where::Inline("ROLE")),
    ("include parameters", Where::Inline("INCLUDE")),
    ("extra vars", Where::Flag),
];

const PLAYBOOK: &str = "- hosts: h
  gather_facts: no
  vars: PLAY
  vars_prompt: PROMPT
  vars_files: [play.vars.yml]
  pre_tasks:
    - tells:
    - include_vars: included.yml
    - set_fact: FACT
  roles:
    - {role: layers, params: 1, ROLE}
";

const TASKS: &str = "- block:
    - include_tasks: shown.yml
      vars: INCLUDE
  vars: BLOCK
";

const SHOWN: &str = "- debug: {msg: \"SHOWN\"}
  vars: TASK
";

/// Returns the variables that a level sets: its own, and those of all stronger levels, each to the number of this one.
fn variables(level: usize) -> Vec<(String, String)> {
    (level..LEVELS.len()).map(|stronger| (format!("v{stronger}"), format!("level{level}"))).collect()
}

fn joined(level: usize, (between, after): (&str, &str)) -> String {
    variables(level).into_iter().map(|(name, value)| format!("{name}{between}{value}{after}")).collect()
}

#[test]
fn each_of_the_levels_is_stronger_than_those_before_it() {
    let program = Program::new();
    let mut hosts = ["[web]".to_string(), "h ansible_connection=local".to_string(), String::new()];
    let mut texts = [PLAYBOOK, TASKS, SHOWN].map(str::to_string);
    let mut flags = String::new();
    for (level, (_, place)) in LEVELS.iter().enumerate() {
        match place {
            Where::Yaml(path) => drop(program.file(path, &joined(level, (": ", "\n")))),
            Where::Ini(section) => hosts[2] = format!("{section}\n{}", joined(level, ("=", "\n"))),
            Where::HostLine => hosts[1] += &format!(" {}", joined(level, ("=", " "))),
            Where::Facts => {
                let facts: serde_json::Map<String, serde_json::Value> =
                    variables(level).into_iter().map(|(name, value)| (name, value.into())).collect();
                let told = serde_json::json!({"changed": false, "ansible_facts": facts});
                program.file("library/tells", &format!("#!/bin/sh\n# WANT_JSON\necho '{told}'\n"));
            }
            Where::Flag => flags = joined(level, ("=", " ")),
            Where::Inline(word) => {
                let pairs = joined(level, (": ", ", "));
                let pairs = pairs.trim_end_matches(", ");
                let inline = match *word {
                    "ROLE" => pairs.to_string(),
                    "PROMPT" => variables(level)
                        .into_iter()
                        .map(|(name, value)| format!("\n    - {{name: {name}, default: {value}, private: no}}"))
                        .collect(),
                    _ => format!("{{{pairs}}}"),
                };
                texts.iter_mut().for_each(|text| *text = text.replace(word, &inline));
            }
        }
    }
    let shown: Vec<String> = (0..LEVELS.len()).map(|level| format!("v{level}={{{{ v{level} }}}}")).collect();
    let [playbook, tasks, task] = texts;
    program.file("inventory/hosts", &hosts.join("\n")).file("play.yml", &playbook);
    program.file("roles/layers/tasks/main.yml", &tasks);
    program.file("roles/layers/tasks/shown.yml", &task.replace("SHOWN", &shown.join(" ")));
    let printed = program.run_words(&["play", "-i", "inventory/hosts", "play.yml", "-e", flags.trim()]).expect(0);
    for (level, (name, _)) in LEVELS.iter().enumerate() {
        let end = if level + 1 == LEVELS.len() { "\"" } else { " " };
        let expected = format!("v{level}=level{level}{end}");
        assert!(printed.stdout.contains(&expected), "{name} (level {level}):\n{}", printed.stdout);
    }
}

#[test]
fn a_flag_is_weaker_than_any_variable() {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\nb ansible_connection=local ansible_become_user=nobody\n");
    program.file("play.yml", crate::program::WHO);
    let printed = program.run("play -i hosts play.yml --become --become-user daemon").expect(0);
    assert!(printed.stdout.contains("a is daemon") && printed.stdout.contains("b is nobody"), "{}", printed.stdout);
}
