//! A task as RON writes it. Every field may be missing, so that a file that extends another restates some.

use ron::value::RawValue;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "taken apart as soon as it is read")]
pub enum TaskText<'a> {
    /// Learns from recordings.
    Train {
        #[serde(borrow)]
        about: Option<&'a RawValue>,
        settings: Option<&'a RawValue>,
        feeds: Option<&'a RawValue>,
        program: Option<&'a RawValue>,
        phases: Option<Vec<PhaseText<'a>>>,
        validates: Option<&'a RawValue>,
        data: Option<DataText<'a>>,
        schedule: Option<&'a RawValue>,
        divide_by: Option<&'a RawValue>,
        report: Option<&'a RawValue>,
        judge: Option<&'a RawValue>,
        best: Option<Vec<&'a RawValue>>,
        warn: Option<Vec<WarnText<'a>>>,
        may_lack: Option<Vec<&'a RawValue>>,
        exports: Option<Vec<&'a RawValue>>,
        heads: Option<Vec<&'a RawValue>>,
    },
    /// Recordings to texts, labels or states.
    Predict {
        about: Option<&'a RawValue>,
        settings: Option<&'a RawValue>,
        feeds: Option<&'a RawValue>,
        program: Option<&'a RawValue>,
        gives: Option<&'a RawValue>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseText<'a> {
    #[serde(borrow)]
    pub program: &'a RawValue,
    pub until: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataText<'a> {
    #[serde(borrow)]
    pub min: &'a RawValue,
    pub max: &'a RawValue,
    pub longer: &'a RawValue,
    pub drop_silent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarnText<'a> {
    #[serde(borrow)]
    pub name: &'a RawValue,
    pub when: &'a RawValue,
    pub remedy: &'a RawValue,
}

/// A setting with its kind, its default and a line of help.
#[derive(Deserialize)]
pub enum SettingText<'a> {
    /// A whole number from 0.
    Count(#[serde(borrow)] &'a RawValue, &'a RawValue),
    /// A whole number from 1.
    Size(&'a RawValue, &'a RawValue),
    /// A number from 0 to 1.
    Share(&'a RawValue, &'a RawValue),
    /// A number from 0 to below 1.
    Rate(&'a RawValue, &'a RawValue),
    /// A number above 0, up to 1.
    Factor(&'a RawValue, &'a RawValue),
    /// A number from 0.
    Number(&'a RawValue, &'a RawValue),
    /// A number above 0.
    Positive(&'a RawValue, &'a RawValue),
    /// true or false.
    Flag(&'a RawValue, &'a RawValue),
}
