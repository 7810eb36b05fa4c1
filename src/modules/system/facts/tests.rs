//! Tests of which facts a subset means, and of what a host prints of none.

use super::*;

fn names(subsets: &[&str]) -> Vec<&'static str> {
    let subsets: Vec<String> = subsets.iter().map(|name| name.to_string()).collect();
    let mut names: Vec<&str> = select(&subsets).unwrap().iter().map(|collector| collector.name).collect();
    names.sort();
    names
}

#[test]
fn subsets_are_chosen_as_ansible_chooses() {
    let with = |more: &[&'static str]| {
        let mut names: Vec<&str> = MINIMAL.iter().copied().chain(more.iter().copied()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&[]).len(), COLLECTORS.len() - 2);
    assert_eq!(names(&["min"]), with(&[]));
    // What is left out is left out of the minimum: only `all` adds.
    assert_eq!(names(&["!hardware"]), with(&[]));
    assert_eq!(names(&["!all"]), with(&[]));
    assert_eq!(names(&["!all", "!min"]), [""; 0]);
    assert_eq!(names(&["!min"]), [""; 0]);
    assert_eq!(names(&["!all", "network"]), with(&["network"]));
    assert_eq!(names(&["all", "!virtual"]).len(), COLLECTORS.len() - 3);
    // A part of a group does not take the group away.
    assert_eq!(names(&["hardware", "!processor"]), with(&["hardware"]));
    assert_eq!(names(&["!unheard-of"]), with(&[]));
    assert_eq!(names(&["all", "facter"]).len(), COLLECTORS.len() - 1);
}

#[test]
fn single_facts_name_their_collector_and_what_it_needs() {
    assert_eq!(names(&["!all", "!min", "os_family", "distribution_major_version"]), ["distribution"]);
    assert_eq!(names(&["!all", "!min", "python_version"]), ["platform"]);
    assert_eq!(names(&["!all", "!min", "pkg_mgr"]), ["distribution", "pkg_mgr"]);
    assert_eq!(names(&["!all", "!min", "default_ipv4"]), ["distribution", "network", "platform"]);
    assert_eq!(names(&["!all", "!min", "virtualization_type", "env"]), ["env", "virtual"]);
}

#[test]
fn an_unknown_subset_is_refused_in_ansibles_words() {
    let error = select(&["netwrok".into()]).err().unwrap().to_string();
    assert!(error.contains("unknown subset of facts `netwrok`"), "{error}");
    assert!(error.contains("`network`"), "{error}");
}

#[test]
fn a_host_that_prints_nothing_does_no_harm() {
    let all = select(&["all".into(), "facter".into(), "ohai".into()]).unwrap();
    for printed in ["", "\u{1e}kernel\n\u{1e}cpuinfo\n\u{1e}addresses\n\u{1e}files\n\u{1e}links\n -> \n\u{1e}there\n"] {
        let facts = read(&all, printed);
        assert_eq!(facts["ansible_virtualization_type"], "NA");
        assert!(!facts.contains_key("ansible_processor_count") && !facts.contains_key("ansible_uptime_seconds"));
    }
}

#[test]
fn other_programs_facts_have_their_names_and_interfaces_no_dashes() {
    let all = select(&["network".into(), "facter".into()]).unwrap();
    let facts = read(
        &all,
        "\u{1e}facter\n{\"os\": {\"name\": \"Debian\"}}\n\u{1e}files\n/sys/class/net/br-lan.4/address:02:00:00:00:00:01\n",
    );
    assert_eq!(facts["facter_os"]["name"], "Debian");
    assert_eq!(facts["ansible_br_lan.4"]["device"], "br-lan.4");
}
