-- state_store.sql: the table in which engines keep what they remember, where <state_store> in
-- <common> names a server. mppd creates it itself where its user may; else:
--   mysql DATABASE < state_store.sql
-- The user needs SELECT, INSERT, UPDATE and DELETE on it.

CREATE TABLE IF NOT EXISTS `state_store` (
  `name` VARBINARY(255) NOT NULL COMMENT 'The ID of the engine, a slash, and the key of the record.',
  `version` BIGINT UNSIGNED NOT NULL COMMENT 'Another one with each change, drawn at random.',
  `until` BIGINT NOT NULL COMMENT 'When the record is forgotten, in milliseconds since 1970.',
  `octets` MEDIUMBLOB NOT NULL COMMENT 'What the engine wrote.',
  PRIMARY KEY (`name`),
  KEY `until` (`until`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
