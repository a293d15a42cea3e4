CREATE TABLE stock (
    item      text PRIMARY KEY,
    remaining int  NOT NULL CHECK (remaining >= 0)
);
INSERT INTO stock VALUES ('tea', 100), ('samovar', 1);

CREATE TABLE orders (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item         text NOT NULL REFERENCES stock,
    mail         text NOT NULL,
    receipted_at timestamptz
);

-- What went out. A shop would have a mail provider here, which takes the order's number as an idempotency key.
CREATE TABLE mail (
    order_id bigint NOT NULL REFERENCES orders,
    address  text   NOT NULL,
    text     text   NOT NULL
);
