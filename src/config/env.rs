//! The environment overlay: `LOKA_<SECTION>_<KEY>` and a few short forms. The variables are passed in, so
//! that nothing here depends on the process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::check::Setting;
use super::error::{Origin, Problems, Subject};
use super::nearest::nearest;
use super::sections::RecordsConfig;
use super::table;
use super::value::{Given, shown};

const PREFIX: &str = "LOKA_";
/// Names the configuration file; not a key.
pub(super) const FILE_VARIABLE: &str = "LOKA_CONFIG";
/// What systemd tells a service with `StateDirectory=`: absolute paths, with colons between them.
const STATE_VARIABLE: &str = "STATE_DIRECTORY";

/// The file named by `LOKA_CONFIG`; an empty variable names none.
pub(super) fn file(env: &[(OsString, OsString)]) -> Option<&OsStr> {
    env.iter()
        .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
        .map(|(_, value)| value.as_os_str())
}

/// Where share records go that nobody named a file for: the first of the state folders that systemd gives a service.
pub(super) fn records_file(env: &[(OsString, OsString)]) -> Option<PathBuf> {
    let (_, folders) = env.iter().find(|(name, _)| name == STATE_VARIABLE)?;
    let first = folders.as_bytes().split(|byte| *byte == b':').next().map(OsStr::from_bytes)?;
    Some(Path::new(first))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(RecordsConfig::FILE_NAME))
}

/// The settings that variables make, in the order of the table. Variables that begin like ours and are not
/// known become warnings: other programs may use such names.
pub(super) fn settings(
    env: &[(OsString, OsString)],
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut known = vec![FILE_VARIABLE.to_owned()];
    for entry in table::entries() {
        let names = entry.environment();
        for name in names.iter().rev() {
            let Some((_, value)) = env.iter().find(|(given, _)| given == name.as_str()) else { continue };
            let setting = setting(*entry, name, value);
            let twin = settings.last().filter(|twin| twin.entry.path() == entry.path());
            if let Some(twin) = twin.filter(|twin| twin.given != setting.given) {
                problems.value(&twin.subject, format!("contradicts {}; set one of them", setting.subject));
            }
            settings.push(setting);
        }
        known.extend(names);
    }
    warnings.extend(env.iter().filter_map(|(name, _)| unknown(&name.to_string_lossy(), &known)));
    settings
}

fn setting(entry: &'static dyn super::key::Entry, name: &str, value: &OsStr) -> Setting {
    let given = value.to_str().map_or(Given::NotText, |text| Given::Plain(text.to_owned()));
    let shown = entry.shown(&given, &format!("\"{}\"", value.to_string_lossy()));
    let origin = Origin::Environment { name: name.to_owned() };
    Setting { entry, pool: 0, given, subject: Subject { origin, key: entry.path(), shown } }
}

fn unknown(name: &str, known: &[String]) -> Option<String> {
    if !name.starts_with(PREFIX) || known.iter().any(|known| known == name) {
        return None;
    }
    let hint =
        nearest(name, known.iter().map(String::as_str)).map(|known| format!(" (did you mean {known}?)"));
    Some(format!("unknown environment variable {}{}", shown(name), hint.unwrap_or_default()))
}
