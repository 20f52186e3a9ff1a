//! The names of files in the shared directory; only this module builds and parses them.

use coredock_domain::ids::ModelCode;

/// A file for the sidecar. Its name is unique among all running jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobFile {
    /// Id of the dump.
    Dump(i64),
    /// Model and id of the dump.
    Elf(ModelCode, i64),
}

impl JobFile {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Dump(id) => format!("coredump_{id}.dmp"),
            Self::Elf(model, id) => format!("{model}-{id}.elf"),
        }
    }

    /// The name while the file is being written.
    pub(crate) fn part_name(&self) -> String {
        format!(".{}.part", self.name())
    }
}

/// Whether a file of this name belongs to an attempt, complete or being written.
pub(crate) fn is_job_file(name: &str) -> bool {
    let part = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part"));
    read(part.unwrap_or(name)).is_some()
}

fn read(name: &str) -> Option<JobFile> {
    if let Some(id) = name.strip_prefix("coredump_").and_then(|rest| rest.strip_suffix(".dmp")) {
        return Some(JobFile::Dump(read_id(id)?));
    }
    let (model, id) = name.strip_suffix(".elf")?.rsplit_once('-')?;
    Some(JobFile::Elf(ModelCode::parse(model)?, read_id(id)?))
}

/// Accepts only what [`JobFile::name`] writes: no sign, no leading zero.
fn read_id(digits: &str) -> Option<i64> {
    let id = digits.parse::<i64>().ok().filter(|id| *id >= 0)?;
    (id.to_string() == digits).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_job_files_are_recognised_complete_and_partial() {
        let model = ModelCode::parse("esp32_c3").unwrap();
        for (file, name) in [
            (JobFile::Dump(17), "coredump_17.dmp"),
            (JobFile::Dump(i64::MAX), "coredump_9223372036854775807.dmp"),
            (JobFile::Elf(model, 17), "esp32_c3-17.elf"),
        ] {
            assert_eq!(file.name(), name);
            assert_eq!(read(name), Some(file.clone()));
            assert!(is_job_file(name) && is_job_file(&file.part_name()), "{name}");
        }
    }

    #[test]
    fn other_names_are_not_those_of_job_files() {
        for name in [
            "",
            ".part",
            "..part",
            "coredump_.dmp",
            "coredump_017.dmp",
            "coredump_+17.dmp",
            "coredump_-17.dmp",
            "coredump_17.dmp.part",
            ".coredump_17.dmp",
            "Coredump_17.dmp",
            "coredump_17.dmp\n",
            "coredump_9223372036854775808.dmp",
            "demo.elf",
            "-17.elf",
            "demo-.elf",
            "Demo-17.elf",
            "my-demo-17.elf",
            "demo-1a.elf",
            "../demo-17.elf",
            ".demo-17.elf.part.part",
        ] {
            assert!(!is_job_file(name), "{name:?}");
        }
    }
}
