-- threshold_exceptions.sql: other limits for some keys of a <threshold>, say for some users.
--
--   mysql mppd < threshold_exceptions.sql
--
-- In mppd.conf.xml, with limits of these names:
--
--   <threshold id="outbound">
--     <key>${lower $sasl_username}</key>
--     <limit id="hourly" max="100" per="1h"/>
--     <limit id="daily" max="500" per="day"/>
--     <exceptions>
--       <connection file="esm/connection.xml" xpath="/mppd/connection"/>
--       <statement>
--         SELECT hourly, daily FROM threshold_exceptions WHERE id = ${lower $sasl_username}
--       </statement>
--     </exceptions>
--   </threshold>

SET NAMES utf8mb4;

CREATE TABLE IF NOT EXISTS threshold_exceptions (
  id VARBINARY(255) NOT NULL PRIMARY KEY COMMENT 'The user, as the statement asks for it',
  hourly BIGINT UNSIGNED NULL COMMENT '0: no limit; NULL: that of the configuration',
  daily BIGINT UNSIGNED NULL COMMENT '0: no limit; NULL: that of the configuration',
  note VARCHAR(255) NULL COMMENT 'Why, for people'
) ENGINE = InnoDB;
