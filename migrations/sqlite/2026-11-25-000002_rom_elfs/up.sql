-- Symbols of the code in the ROM of a chip; the object of each is named by its SHA-256.
CREATE TABLE rom_elfs (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    chip varchar(50) NOT NULL,
    name varchar(64) NOT NULL,
    size bigint NOT NULL,
    sha256 varchar(64) NOT NULL UNIQUE,
    uploaded_at text NOT NULL
);

CREATE INDEX rom_elfs_by_chip ON rom_elfs (chip, name, id);
