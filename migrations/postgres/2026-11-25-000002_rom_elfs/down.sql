DROP TABLE rom_elfs;
