mod access;
mod agents;
mod background;
mod chat;
mod server;
mod storage;

use super::kind::Kind;

/// One thing that can be configured, under all its names. The tables of the modules below are the only place that knows them; the
/// configuration page of the documentation is printed from it.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The environment variable, which is also what the code calls the setting.
    pub(crate) name: &'static str,
    /// The place in the configuration file, `section.key`; empty when it cannot be set there.
    pub(crate) key: &'static str,
    /// The command-line flag without its dashes; empty when there is none.
    pub(crate) flag: &'static str,
    /// What values it takes.
    pub(crate) kind: Kind,
    /// The value when none is given; empty when there is none.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
    /// Whether it does that yet.
    pub(crate) status: Status,
}

/// Whether a setting has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It works.
    Active,
    /// It is read and checked, so that existing environments work unchanged, and does nothing (yet).
    Accepted,
}

impl Setting {
    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = flag;
        self
    }
}

const fn active(
    name: &'static str,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, key, flag: "", kind, default, meaning, status: Status::Active }
}

const fn accepted(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, key: "", flag: "", kind, default, meaning, status: Status::Accepted }
}

const COUNT: Kind = Kind::Whole { min: 0, max: u32::MAX as u64 };
const AT_LEAST_ONE: Kind = Kind::Whole { min: 1, max: u32::MAX as u64 };
const SIZE: Kind = Kind::Whole { min: 1, max: 1 << 40 };
const POSITIVE_SECONDS: Kind = Kind::Seconds { zero: false };
const PHASE: Kind = Kind::OneOf(&["postgres", "mongodb"]);
const OTLP: &str = "OpenTelemetry export; not in this version.";
const BUILDS: &str = "Read by other parts of the public project; unused there and here.";
const MONGODB: &str = "Document store of the public project; everything is in the relational store here.";

/// Every setting, grouped as the documentation shows them.
pub(crate) const GROUPS: &[(&str, &[Setting])] = &[
    ("Server", server::SERVER),
    ("Database", storage::DATABASE),
    ("Streams", storage::STREAMS),
    ("Calls to agents", agents::CALLS),
    ("Authorization", access::AUTHORIZATION),
    ("Authentication", access::AUTHENTICATION),
    ("Secrets", access::SECRETS),
    ("Logs and metrics", server::LOGS_AND_METRICS),
    ("Schedules and background work", background::SCHEDULES),
    ("Retention", background::RETENTION),
    ("Chat gateways", chat::GATEWAYS),
    ("Others", server::OTHERS),
];

/// All settings in the order of the documentation.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|(_, settings)| settings.iter())
}

/// The setting called `name`.
pub(crate) fn named(name: &str) -> &'static Setting {
    all().find(|setting| setting.name == name).expect("the code asks only for settings of the table")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_keys_and_flags_are_unique() {
        let names: [fn(&'static Setting) -> &'static str; 3] = [|s| s.name, |s| s.key, |s| s.flag];
        for of in names {
            let mut seen = BTreeSet::new();
            for text in all().map(of).filter(|text| !text.is_empty()) {
                assert!(seen.insert(text), "{text} is there twice");
            }
        }
    }

    #[test]
    fn defaults_are_allowed_values() {
        for setting in all().filter(|setting| !setting.default.is_empty()) {
            assert!(setting.kind.accepts(setting.default), "{}", setting.name);
        }
    }
}
