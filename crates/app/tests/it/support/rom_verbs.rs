//! Actions of tests on ROM ELFs.

use serde_json::Value;

use super::{Answer, TestServer};

/// `e_machine` of RISC-V.
pub(crate) const RISC_V: u16 = 243;

/// A 32-bit executable with a table of two empty sections, then `seed`.
pub(crate) fn rom_elf(machine: u16, seed: &str) -> Vec<u8> {
    let mut bytes = vec![0; 132];
    bytes[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    bytes[16..18].copy_from_slice(&2_u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32..36].copy_from_slice(&52_u32.to_le_bytes());
    bytes[46..48].copy_from_slice(&40_u16.to_le_bytes());
    bytes[48..50].copy_from_slice(&2_u16.to_le_bytes());
    bytes.extend_from_slice(seed.as_bytes());
    bytes
}

impl TestServer {
    /// Uploads an ELF; `chip` and `name` are inserted into the query unchanged.
    pub(crate) async fn post_rom(&self, chip: &str, name: &str, elf: Vec<u8>) -> Answer {
        self.post(&format!("/api/rom-elfs?chip={chip}&name={name}"), elf).await
    }

    /// Uploads an ELF for the esp32c6, which is accepted.
    pub(crate) async fn upload_rom(&self, seed: &str) -> Value {
        let uploaded = self.post_rom("esp32c6", seed, rom_elf(RISC_V, seed)).await;
        uploaded.expect(201).json()
    }

    /// The listed ROM ELFs.
    pub(crate) async fn roms(&self) -> Vec<Value> {
        let listed = self.get("/api/rom-elfs").await.expect(200).json();
        let roms = listed["rom_elfs"].as_array().unwrap();
        assert_eq!(listed["count"], roms.len());
        roms.clone()
    }

    /// Deletes an existing ROM ELF.
    pub(crate) async fn delete_rom(&self, rom: &Value) {
        self.delete(&format!("/api/rom-elfs/{}", rom["id"])).await.expect(204);
    }
}
