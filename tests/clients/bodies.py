"""Random request bodies made from an OpenAPI document: such as it allows, and such with something wrong in them."""
MAX_DEPTH = 6
STRINGS = ["", "a", "Tell me a story.", "fox", "ü€🦊", "\0\n\t\"\\", "<|im_end|>", "user", "{}", "x" * 300]
JUNK = [None, True, -1, 0, 1.5, 1e308, -1e308, 2**63, -2**63 - 1, 10**30, "", "x" * 10_000, "\u202e🦊", [], {}, [[]],
        {"": {}}, [None] * 50, "NaN", "../../etc/passwd"]


class Bodies:
    """Makes bodies for the POST operations of a document. The same `rng` makes the same bodies."""

    def __init__(self, document, rng):
        self.document, self.rng = document, rng
        self.schemas = {}
        for path, operations in document["paths"].items():
            content = operations.get("post", {}).get("requestBody", {}).get("content", {})
            if "application/json" in content:
                self.schemas[path] = content["application/json"]["schema"]

    def allowed(self, path):
        """A body that the document allows, as far as this module understands it."""
        return self._value(self.schemas[path], 0)

    def broken(self, path):
        """A body with one to three things replaced, taken out or put in."""
        body = self.allowed(path)
        for _ in range(self.rng.randint(1, 3)):
            body = self._damage(body)
        return body

    def _damage(self, value):
        if not isinstance(value, (dict, list)) or not value or self.rng.random() < 0.15:
            return self._junk()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = self.rng.choice(keys)
        value = value.copy()
        kind = self.rng.random()
        if kind < 0.2:
            del value[key]
        elif kind < 0.3 and isinstance(value, dict):
            value[self.rng.choice(STRINGS)] = self._junk()
        else:
            value[key] = self._damage(value[key])
        return value

    def _junk(self):
        if self.rng.random() < 0.1:
            nested = []
            for _ in range(200):
                nested = [nested]
            return nested
        return self.rng.choice(JUNK)

    def _value(self, schema, depth):
        rng = self.rng
        if schema is True or schema == {}:
            return rng.choice(STRINGS)
        if "$ref" in schema:
            target = self.document
            for word in schema["$ref"].removeprefix("#/").split("/"):
                target = target[word]
            return self._value(target, depth + 1)
        for name in ("oneOf", "anyOf"):
            if name in schema:
                return self._value(rng.choice(schema[name]), depth)
        if "allOf" in schema:
            parts = [self._value(part, depth) for part in schema["allOf"]]
            return {k: v for part in parts for k, v in part.items()} if isinstance(parts[0], dict) else parts[0]
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = rng.choice(kind)
        return getattr(self, f"_{kind}")(schema, depth)

    def _object(self, schema, depth):
        required = schema.get("required", ())
        few = 0.0 if depth > MAX_DEPTH else 0.3
        found = {name: self._value(part, depth + 1) for name, part in schema.get("properties", {}).items()
                 if name in required or self.rng.random() < few}
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and more and depth <= MAX_DEPTH and self.rng.random() < 0.5:
            found[str(self.rng.randrange(100))] = self._value(more, depth + 1)
        return found

    def _array(self, schema, depth):
        least = schema.get("minItems", 0)
        most = min(schema.get("maxItems", least + 3), least + 3)
        count = least if depth > MAX_DEPTH else self.rng.randint(least, most)
        return [self._value(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _string(self, schema, _depth):
        text = self.rng.choice(STRINGS)
        return text.ljust(schema.get("minLength", 0), "a")[:schema.get("maxLength", 1000)]

    def _bounds(self, schema):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        return least, schema.get("maximum", schema.get("exclusiveMaximum", least + 20))

    def _integer(self, schema, _depth):
        least, most = map(int, self._bounds(schema))
        return self.rng.randint(least, min(most, least + 50))

    def _number(self, schema, _depth):
        return self.rng.uniform(*self._bounds(schema))

    def _boolean(self, _schema, _depth):
        return self.rng.random() < 0.5

    def _null(self, _schema, _depth):
        return None
