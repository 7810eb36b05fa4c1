CREATE TABLE domains (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, cr_date date, name varchar(255) NOT NULL UNIQUE,
    status bigint unsigned NOT NULL DEFAULT 0
) ENGINE=InnoDB;
CREATE TABLE accounts (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, type varchar(32) NOT NULL DEFAULT 'plain', password text
) ENGINE=InnoDB;
CREATE TABLE mail (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, mail_name varchar(245) NOT NULL,
    perm_id int unsigned NOT NULL DEFAULT 0, postbox enum('false','true') NOT NULL DEFAULT 'false',
    account_id int unsigned NOT NULL DEFAULT 0, redirect enum('false','true') NOT NULL DEFAULT 'false',
    redir_addr varchar(255), mail_group enum('false','true') NOT NULL DEFAULT 'false',
    autoresponder enum('false','true') NOT NULL DEFAULT 'false', spamfilter enum('false','true') NOT NULL DEFAULT 'false',
    virusfilter enum('none','incoming','outgoing','any') NOT NULL DEFAULT 'none', mbox_quota bigint NOT NULL DEFAULT -1,
    dom_id int unsigned NOT NULL DEFAULT 0, UNIQUE KEY name (dom_id, mail_name)
) ENGINE=InnoDB;
CREATE TABLE mail_aliases (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, mn_id int unsigned NOT NULL, alias varchar(245) NOT NULL,
    UNIQUE KEY alias (mn_id, alias)
) ENGINE=InnoDB;
INSERT INTO domains (id, name) VALUES (31, 'example.com'), (8, 'example.net'), (40, 'example.org'), (7, 'mail.example');
INSERT INTO accounts (id, type, password) VALUES (5, 'plain', 'it''s a secret'), (6, 'crypt', '$1$abcdefgh$0123456789012345678901');
INSERT INTO mail (id, mail_name, postbox, account_id, mbox_quota, dom_id) VALUES
    (3, 'ann', 'true', 5, 10485760, 31), (4, 'bob', 'true', 6, -1, 31);
INSERT INTO mail_aliases (mn_id, alias) VALUES (3, 'anna');
