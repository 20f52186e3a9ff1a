-- The state of the index of each stored build, and the queue of builds without one.
CREATE TABLE symbol_indexes (
    elf_sha256 varchar(64) COLLATE "C" PRIMARY KEY,
    -- The format of the index, or of the last attempt to build one; 0 before the first attempt.
    format integer NOT NULL,
    -- The object, if it exists.
    size bigint,
    sha256 varchar(64) COLLATE "C",
    error text,
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    lease_owner varchar(64) COLLATE "C",
    lease_until timestamptz
);

CREATE INDEX symbol_indexes_due ON symbol_indexes (due_at, format);

INSERT INTO symbol_indexes (elf_sha256, format, attempts, due_at)
    SELECT elf_sha256, 0, 0, max(last_referenced_at) FROM known_builds GROUP BY elf_sha256;
