use super::zip::{ZipBuilder, ZipEntry};
use super::{elf0, image};

/// Builds the bundle of a model, which is `ZIP(version)` of contract §19 unless changed.
#[derive(Debug, Clone)]
pub struct BundleBuilder {
    model: String,
    entries: Vec<ZipEntry>,
    archive: ZipBuilder,
}

impl BundleBuilder {
    /// A valid bundle with `IMG(version, 4096)` and `ELF0`.
    pub fn new(model: &str, version: &str) -> Self {
        let version_json = serde_json::json!({
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "idf_version": "v5.3.1",
            "firmware_version": version,
        });
        let sdkconfig = "CONFIG_IDF_TARGET=\"esp32s3\"\n";
        let empty =
            Self { model: model.to_owned(), entries: Vec::new(), archive: ZipBuilder::new() };
        empty
            .bin(image(version, 4096))
            .elf(elf0())
            .map(format!("Memory map of {model}\n"))
            .sdkconfig(sdkconfig)
            .version_json(version_json.to_string())
    }

    /// Sets the image. A valid bundle needs an image with the build id of its ELF.
    #[must_use]
    pub fn bin(self, content: impl Into<Vec<u8>>) -> Self {
        let name = format!("{}.bin", self.model);
        self.entry(ZipEntry::new(name, content))
    }

    /// Sets the ELF.
    #[must_use]
    pub fn elf(self, content: impl Into<Vec<u8>>) -> Self {
        let name = format!("{}.elf", self.model);
        self.entry(ZipEntry::new(name, content))
    }

    /// Sets the linker map.
    #[must_use]
    pub fn map(self, content: impl Into<Vec<u8>>) -> Self {
        let name = format!("{}.map", self.model);
        self.entry(ZipEntry::new(name, content))
    }

    /// Sets `sdkconfig`.
    #[must_use]
    pub fn sdkconfig(self, content: impl Into<Vec<u8>>) -> Self {
        self.entry(ZipEntry::new("sdkconfig", content))
    }

    /// Sets `version.json`.
    #[must_use]
    pub fn version_json(self, content: impl Into<Vec<u8>>) -> Self {
        self.entry(ZipEntry::new("version.json", content))
    }

    /// Replaces the entry with the same name, or appends `entry`.
    #[must_use]
    pub fn entry(mut self, entry: ZipEntry) -> Self {
        match self.entries.iter_mut().find(|existing| existing.name() == entry.name()) {
            Some(existing) => *existing = entry,
            None => self.entries.push(entry),
        }
        self
    }

    /// Appends `entry`, even if an entry with the same name exists.
    #[must_use]
    pub fn append(mut self, entry: ZipEntry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Appends a copy of the entry `name`.
    #[must_use]
    pub fn duplicate(self, name: &str) -> Self {
        let entry = self.entries.iter().find(|entry| entry.name() == name.as_bytes());
        let entry = entry.expect("the entry to duplicate exists").clone();
        self.append(entry)
    }

    #[must_use]
    pub fn change(mut self, name: &str, change: impl Fn(ZipEntry) -> ZipEntry) -> Self {
        let entry = self.entries.iter_mut().find(|entry| entry.name() == name.as_bytes());
        let entry = entry.expect("the entry to change exists");
        *entry = change(entry.clone());
        self
    }

    #[must_use]
    pub fn change_all(self, change: impl Fn(ZipEntry) -> ZipEntry) -> Self {
        Self { entries: self.entries.into_iter().map(change).collect(), ..self }
    }

    /// Removes every entry `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.entries.retain(|entry| entry.name() != name.as_bytes());
        self
    }

    /// Changes the archive apart from its entries: prefix, comment, disk.
    #[must_use]
    pub fn archive(self, change: impl FnOnce(ZipBuilder) -> ZipBuilder) -> Self {
        Self { archive: change(self.archive), ..self }
    }

    /// The bytes of the archive.
    pub fn build(&self) -> Vec<u8> {
        self.entries.iter().cloned().fold(self.archive.clone(), ZipBuilder::entry).build()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::super::bundle;
    use super::*;

    fn names(bundle: Vec<u8>) -> Vec<String> {
        let archive = zip::ZipArchive::new(Cursor::new(bundle)).unwrap();
        archive.file_names().map(|name| name.unwrap().into_owned()).collect()
    }

    #[test]
    fn the_plain_bundle_has_the_five_entries() {
        let expected = ["demo.bin", "demo.elf", "demo.map", "sdkconfig", "version.json"];
        assert_eq!(names(bundle("1.2.3")), expected);
        let mut archive = zip::ZipArchive::new(Cursor::new(bundle("1.2.3"))).unwrap();
        let mut content = Vec::new();
        archive.by_name("demo.bin").unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, image("1.2.3", 4096));
    }

    #[test]
    fn entries_are_replaced_removed_and_doubled() {
        let builder = BundleBuilder::new("demo", "1.2.3").without("demo.elf").map("other");
        let appended = builder.clone().append(ZipEntry::new("dir/", ""));
        assert_eq!(
            names(appended.build()),
            ["demo.bin", "demo.map", "sdkconfig", "version.json", "dir/"]
        );
        let doubled = builder.duplicate("demo.bin").build();
        let central = doubled.windows(4).filter(|bytes| bytes == b"PK\x01\x02").count();
        assert_eq!(central, 5);
    }
}
