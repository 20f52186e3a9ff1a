DROP TABLE session_refreshes;
DROP TABLE identity_keys;
