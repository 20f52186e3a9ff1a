DROP TABLE symbol_indexes;
