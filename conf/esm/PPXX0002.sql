-- PPXX0002.sql: white and black lists.
--
--   mysql mppd < PPXX0002.sql

SET NAMES utf8mb4;

CREATE TABLE IF NOT EXISTS PPXX0002_entry (
  list ENUM('white', 'black') NOT NULL,
  attribute ENUM('client_address', 'client_name', 'sender', 'recipient', 'sasl_username') NOT NULL,
  entry VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    COMMENT 'Lower case: an address, `user@example.org`, a login name, or a domain, which stands for all below it as well',
  reason VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT 'listed'
    COMMENT 'What the client is told',
  valid_until DATETIME NULL COMMENT 'UTC; NULL for ever',
  PRIMARY KEY (attribute, entry, list),
  CONSTRAINT PPXX0002_entry_is_lower_case CHECK (entry = LOWER(entry) AND entry <> '')
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS PPXX0002_network (
  list ENUM('white', 'black') NOT NULL,
  first VARBINARY(16) NOT NULL COMMENT 'INET6_ATON of the first address',
  last VARBINARY(16) NOT NULL COMMENT 'INET6_ATON of the last address',
  reason VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT 'listed'
    COMMENT 'What the client is told',
  valid_until DATETIME NULL COMMENT 'UTC; NULL for ever',
  PRIMARY KEY (first, last, list),
  CONSTRAINT PPXX0002_network_is_one CHECK (first <= last AND LENGTH(first) = LENGTH(last))
) ENGINE = InnoDB;
