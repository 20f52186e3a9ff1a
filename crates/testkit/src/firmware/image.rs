use coredock_domain::digest::Sha256Digest;

use super::elf0;

const DESCRIPTOR: usize = 32;
const BODY: usize = 288;

/// Builds a firmware image, which is `IMG` of contract §19 unless changed.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    length: usize,
    magic: u8,
    chip_id: u16,
    descriptor_magic: u32,
    secure_version: u32,
    version: Vec<u8>,
    project: String,
    idf_version: String,
    elf_sha256: [u8; 32],
}

impl ImageBuilder {
    /// `IMG(version, length)`.
    pub fn new(version: &str, length: usize) -> Self {
        Self {
            length,
            magic: 0xe9,
            chip_id: 9,
            descriptor_magic: 0xabcd_5432,
            secure_version: 0,
            version: version.as_bytes().to_vec(),
            project: "demo".to_owned(),
            idf_version: "v5.3.1".to_owned(),
            elf_sha256: *Sha256Digest::of(&elf0()).bytes(),
        }
    }

    /// The first byte.
    #[must_use]
    pub fn magic(self, magic: u8) -> Self {
        Self { magic, ..self }
    }

    /// The number of the chip; 9 is the esp32s3.
    #[must_use]
    pub fn chip_id(self, chip_id: u16) -> Self {
        Self { chip_id, ..self }
    }

    /// The first word of the application descriptor.
    #[must_use]
    pub fn descriptor_magic(self, descriptor_magic: u32) -> Self {
        Self { descriptor_magic, ..self }
    }

    /// The anti-rollback counter.
    #[must_use]
    pub fn secure_version(self, secure_version: u32) -> Self {
        Self { secure_version, ..self }
    }

    /// The bytes of the version field, cut at 32, which may be an invalid text.
    #[must_use]
    pub fn version_bytes(self, version: &[u8]) -> Self {
        Self { version: version.to_vec(), ..self }
    }

    #[must_use]
    pub fn project(self, project: &str) -> Self {
        Self { project: project.to_owned(), ..self }
    }

    /// The version of ESP-IDF.
    #[must_use]
    pub fn idf_version(self, idf_version: &str) -> Self {
        Self { idf_version: idf_version.to_owned(), ..self }
    }

    /// The build id, instead of that of [`elf0`]; all zero means unknown.
    #[must_use]
    pub fn elf_sha256(self, elf_sha256: [u8; 32]) -> Self {
        Self { elf_sha256, ..self }
    }

    /// The build id of `elf`.
    #[must_use]
    pub fn of_elf(self, elf: &[u8]) -> Self {
        self.elf_sha256(*Sha256Digest::of(elf).bytes())
    }

    /// The image of `length` bytes, even if that cuts the descriptor. Its segments, checksum and
    /// appended hash are invalid.
    pub fn build(&self) -> Vec<u8> {
        let mut image = vec![0xa5; self.length.max(BODY)];
        image[..BODY].fill(0);
        image[0] = self.magic;
        image[1] = 1;
        image[12..14].copy_from_slice(&self.chip_id.to_le_bytes());
        let descriptor = &mut image[DESCRIPTOR..BODY];
        descriptor[..4].copy_from_slice(&self.descriptor_magic.to_le_bytes());
        descriptor[4..8].copy_from_slice(&self.secure_version.to_le_bytes());
        put_text(&mut descriptor[16..48], &self.version);
        put_text(&mut descriptor[48..80], self.project.as_bytes());
        put_text(&mut descriptor[80..96], b"12:00:00");
        put_text(&mut descriptor[96..112], b"Jan  1 2026");
        put_text(&mut descriptor[112..144], self.idf_version.as_bytes());
        descriptor[144..176].copy_from_slice(&self.elf_sha256);
        image.truncate(self.length);
        image
    }

    /// The image with a valid table of two segments, checksum byte and appended SHA-256. It is
    /// longer than `length`, which is at least 288.
    pub fn build_full(&self) -> Vec<u8> {
        let mut image = self.build();
        // Segments are whole words long.
        image.resize(image.len().next_multiple_of(4), 0xa5);
        image[1] = 2;
        image[23] = 1;
        let first = u32::try_from(image.len() - DESCRIPTOR).expect("the image is small");
        image[24..28].copy_from_slice(&0x3c00_0020_u32.to_le_bytes());
        image[28..32].copy_from_slice(&first.to_le_bytes());
        let second = [0x5a; 60];
        image.extend(0x4037_4000_u32.to_le_bytes());
        image.extend(60_u32.to_le_bytes());
        image.extend(second);
        let first = &image[DESCRIPTOR..DESCRIPTOR + first as usize];
        let checksum = first.iter().chain(&second).fold(0xef, |sum, byte| sum ^ byte);
        // The checksum is the last byte of a block of 16.
        image.resize((image.len() + 1).next_multiple_of(16), 0);
        if let Some(last) = image.last_mut() {
            *last = checksum;
        }
        let sha256 = Sha256Digest::of(&image);
        image.extend(sha256.bytes());
        image
    }
}

/// Writes `text`, cut at the end of the field; the rest stays NUL.
fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use super::super::{full_image, image};
    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        Sha256Digest::of(bytes).to_string()
    }

    #[test]
    fn building_blocks_have_the_digests_of_the_contract() {
        assert_eq!(
            sha256(&elf0()),
            "f1b0a36cec27b90029c4cd36c1f9eb8cd40743ccbdf9e3d2a8773b92e86fdb4c"
        );
        assert_eq!(
            sha256(&image("1.2.3", 288)),
            "09e9f27942dfdfabf06775ddbe3104319b2ec16ba6e8de87e6b6c9bf27b9d750"
        );
        assert_eq!(
            sha256(&image("1.2.3", 4096)),
            "fe50d20daebeaf9b07b08e6826c0258cc016546badd13be527bfb3ee71d4e253"
        );
        assert_eq!(
            sha256(&ImageBuilder::new("1.2.3", 288).elf_sha256([0; 32]).build()),
            "8cfe4cb35dbbcb8e1a35bd2a57b07f4acc5493cb0a7f1b624b9be203f7ef5156"
        );
    }

    #[test]
    fn a_short_image_is_cut() {
        assert_eq!(image("1.2.3", 287), image("1.2.3", 288)[..287]);
        assert_eq!(image("1.2.3", 0), b"");
    }

    #[test]
    fn a_full_image_has_the_layout_of_the_rom_loader() {
        for length in [288, 289, 4096, 4099] {
            let image = full_image("1.2.3", length);
            let (hashed, appended) = image.split_at(image.len() - 32);
            assert_eq!(Sha256Digest::of(hashed).bytes(), appended);
            assert_eq!(hashed.len() % 16, 0);
            let (mut offset, mut checksum) = (24, 0xef);
            for _ in 0..image[1] {
                let size = image[offset + 4..offset + 8].try_into().map(u32::from_le_bytes);
                let data = &image[offset + 8..][..size.unwrap() as usize];
                checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
                offset += 8 + data.len();
            }
            assert_eq!((offset + 1).next_multiple_of(16), hashed.len());
            assert_eq!(hashed.last(), Some(&checksum));
        }
    }
}
