//! Facts about how a host names itself to networks of storage.

use serde_json::Value;

use super::{Asks, Collector};

pub const FIBRE_CHANNEL_WWN: Collector = Collector {
    name: "fibre_channel_wwn",
    ids: &[],
    needs: &[],
    asks: Asks { files: &["/sys/class/fc_host/*/port_name"], ..Asks::NOTHING },
    read: |seen, facts| {
        let names = seen.files("/sys/class/fc_host/", "/port_name").flat_map(|(_, text)| text.lines());
        let names: Value = names.map(|line| line.trim().trim_start_matches("0x")).collect();
        facts.insert("fibre_channel_wwn".into(), names);
    },
};

const INITIATOR: &str = "/etc/iscsi/initiatorname.iscsi";

pub const ISCSI: Collector = Collector {
    name: "iscsi",
    ids: &[],
    needs: &[],
    asks: Asks { files: &[INITIATOR], ..Asks::NOTHING },
    read: |seen, facts| {
        let mut lines = seen.file(INITIATOR).unwrap_or("").lines();
        let name = lines.find_map(|line| line.strip_prefix("InitiatorName=")).unwrap_or("");
        facts.insert("iscsi_iqn".into(), name.into());
    },
};

const HOST: &str = "/etc/nvme/hostnqn";

pub const NVME: Collector = Collector {
    name: "nvme",
    ids: &[],
    needs: &[],
    asks: Asks { files: &[HOST], ..Asks::NOTHING },
    read: |seen, facts| {
        let name = seen.file(HOST).unwrap_or("").lines().find(|line| line.starts_with("nqn.")).unwrap_or("");
        facts.insert("hostnqn".into(), name.into());
    },
};
