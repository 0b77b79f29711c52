"""Random streams of bytes as clients might send them: commands of all kinds, or what is nearly one.

A stream comes from its seed alone, so that the seed replays it. What it asks has one answer only:
nothing random, nothing of the time of day, no order of a hash table. Two servers that differ in
their answers differ in how they read.
"""

import random

from .resp import encode

MARK = b"the-end-of-the-stream"
VOLATILE = b"volatile"  # what follows is another number everywhere

# Words with $ are replaced: $k $l $h $t $z $x keys of each type, $v a value, $i an integer, $f a
# float, $c a channel, $n an entry of a stream.
_COMMON = """
SET $k $v|SET $k $v NX GET|SET $k $v XX|SET $k $v EX 1000|GET $k|GETSET $k $v|GETDEL $k|APPEND $k $v
STRLEN $k|SETRANGE $k $i $v|GETRANGE $k $i $i|INCR $k|DECRBY $k $i|INCRBYFLOAT $k $f
MSET $k $v $k $v
MGET $k $l $k|MSETNX $k $v $k $v|SETBIT $k $i 1|GETBIT $k $i|BITCOUNT $k|BITPOS $k 1|BITOP NOT $k $k
BITFIELD $k SET u8 0 $i GET u4 0|LCS $k $k|GETEX $k PERSIST|PFADD $k $v|PFCOUNT $k
DEL $k $l|UNLINK $h|EXISTS $k $h $k|TYPE $l|RENAME $k $k|COPY $k $k REPLACE|PERSIST $k
EXPIRE $k 1000|EXPIRE $k -1
OBJECT ENCODING $k|OBJECT REFCOUNT $l|OBJECT HELP|TOUCH $k $k|DBSIZE|MOVE $k 3|SORT $t ALPHA|DUMP $k
RPUSH $l $v $v|LPUSH $l $v|LPOP $l|RPOP $l $i|LRANGE $l $i $i|LRANGE $l 0 -1|LLEN $l|LINDEX $l $i
LINSERT $l BEFORE $v $v|LSET $l $i $v|LREM $l 0 $v|LTRIM $l 0 5|LMOVE $l $l LEFT RIGHT|LPOS $l $v
LMPOP 2 $l $l LEFT COUNT 2|RPOPLPUSH $l $l|LPUSHX $l $v
HSET $h a $v b $v|HGET $h a|HMGET $h a b c|HGETALL $h|HDEL $h a|HLEN $h|HINCRBY $h n $i|HKEYS $h
HINCRBYFLOAT $h n $f|HEXISTS $h b|HSETNX $h c $v|HSTRLEN $h a
SADD $t $i $i|SREM $t $i|SCARD $t|SISMEMBER $t $i|SMISMEMBER $t 1 $i|SMOVE $t $t 1
SINTERCARD 2 $t $t
ZADD $z $f a $i b|ZADD $z XX CH INCR $f a|ZRANGE $z 0 -1 WITHSCORES|ZSCORE $z a|ZINCRBY $z $f b
ZRANGEBYSCORE $z -inf (3 LIMIT 0 2|ZRANK $z b|ZPOPMIN $z|ZREM $z a|ZCARD $z|ZMSCORE $z a q
ZCOUNT $z 0 $i
ZUNION 2 $z $z WITHSCORES|ZRANGESTORE $z $z 0 -1|ZLEXCOUNT $z - +
XADD $x $n f $v|XLEN $x|XRANGE $x - +|XREVRANGE $x + - COUNT 1|XREAD COUNT 2 STREAMS $x 0|XDEL $x $n
XGROUP CREATE $x g $ MKSTREAM|XREADGROUP GROUP g c STREAMS $x >|XACK $x g $n|XTRIM $x MAXLEN 2
XPENDING $x g|XSETID $x 9-9
GEOADD $z 13.3 38.1 P|GEODIST $z P P|GEOPOS $z P none
PING|PING $v|ECHO $v|CONFIG NOSUCH|MEMORY USAGE none|CLUSTER MYID|OBJECT NOSUCH $k
WAIT 0 0|PUBLISH $c $v|SPUBLISH $c $v|PUBSUB NUMSUB $c|DEBUG STRINGMATCH-LEN 10 a*|DEBUG NOSUCH
SELECT 0|SELECT 3|SELECT $i|SWAPDB 0 3|CLIENT GETNAME|CLIENT SETNAME $v|CLIENT SETNAME me
CLIENT NOSUCH
CLIENT NO-EVICT ON|CLIENT GETREDIR|CLIENT TRACKINGINFO|CLIENT UNBLOCK 99999999|CLIENT SETINFO a b
CLIENT TRACKING ON|CLIENT TRACKING OFF|CLIENT CACHING YES
HELLO|HELLO 2|HELLO 3|HELLO 4|HELLO 3 SETNAME me|HELLO 2 AUTH x y|HELLO $v|AUTH $v|AUTH bob $v|RESET
ACL WHOAMI|ACL DRYRUN default GET k|ACL NOSUCH|QUIT|RESET x|NOSUCH|NOSUCH $v $v|$v|$v $v|REPLICAOF
SCRIPT EXISTS x|SCRIPT LOAD return|EVALSHA 0123456789012345678901234567890123456789 0|SCRIPT KILL
FCALL nosuch 0|FUNCTION LIST|ASKING|DISCARD|EXEC|UNWATCH|WATCH $k|MULTI
UNSUBSCRIBE $c|PUNSUBSCRIBE|UNSUBSCRIBE
"""

# A neighbour of these, one byte away, has no single answer, or does harm.
_TAME = """
COMMAND COUNT|COMMAND GETKEYS SET a b|TIME x|LASTSAVE x|LOLWUT VERSION 99 1|INFO cluster
INFO keyspace
MEMORY HELP|CONFIG GET maxmemory|CLIENT LIST ID 99999999|COMMAND INFO get nosuch|COMMAND DOCS get
DEBUG SLEEP 0|CONFIG GET maxmemory-policy|SLOWLOG RESET
DEBUG JMAP|CLIENT KILL ID 99999999|CLIENT KILL 1.2.3.4:5|SCRIPT FLUSH|FUNCTION FLUSH
CONFIG RESETSTAT
DEL one|SADD one member|SMEMBERS one|SRANDMEMBER one|SPOP one|LATENCY RESET|DEBUG CHANGE-REPL-ID
DEBUG PROTOCOL string|DEBUG PROTOCOL integer|DEBUG PROTOCOL double|DEBUG PROTOCOL null
DEBUG PROTOCOL array|DEBUG PROTOCOL set|DEBUG PROTOCOL map|DEBUG PROTOCOL attrib
DEBUG PROTOCOL push|DEBUG PROTOCOL verbatim|DEBUG PROTOCOL true|DEBUG PROTOCOL bignum
"""

_SCRIPTS = ("return {1,'two',{3,{4}},false,redis.status_reply('S')}", "return 1.9", "return nil",
            "return redis.error_reply('MY own')", "return redis.call('INCR',KEYS[1])",
            "redis.setresp(3) return {map={a={double=1.5}}}", "redis.setresp(3) return true",
            "return {big_number='1234567890123456789012'}", "return redis.pcall('NOSUCH')",
            "return {verbatim_string={format='txt',string='text'}}", "return {set={a=true}}",
            "return redis.call('LPUSH',KEYS[1],1,2)", "error('mine')", "return redis.sha1hex('')",
            "return redis.status_reply('A\\r\\nB')", "this is no script", "return {}")

_NUMBERS = (b"-1", b"0", b"1", b"2", b"3", b"10", b"+1", b"01", b" 1", b"1 ", b"-0", b"", b"1e3",
            b"0x1", b"11", b"16384", b"16385", b"1048576", b"1048577", b"2147483647",
            b"2147483648", b"4294967297", b"536870912", b"536870913", b"9223372036854775807",
            b"9223372036854775808", b"18446744073709551617", b"-9223372036854775808",
            b"-9223372036854775809", b"99999999999999999999", b"--1", b"1\r", b"1\0")

_BYTES = b"\0\r\n\t\v\f *$:+-,\"'\\x019aZ\x7f\x80\xff"

_ODD_LINES = (b"\r\n", b"\n", b"\r\n\r\n", b"   \r\n", b" \t\v\f\r\n", b"*0\r\n", b"*-1\r\n",
              b"*-7\r\n", b"*0\n", b"\r", b"\0\r\n", b"PING \0\r\n", b"\"\"\r\n", b"''\n",
              b"\"PING\"\r\n", b"PING \"a\\x41\\n\\\"\"\r\n", b"PING 'a\\'b'\r\n",
              b"PING \"a\"b\r\n", b"PING \"a\r\n", b"PING 'a\r\n", b"PI\"NG\"\r\n",
              b"ECHO a\vb\r\n", b"ECHO\va\r\n", b"\vPING\r\n", b"ECHO a\fb \f\r\n",
              b"ECHO \\x41\r\n", b"PING\r\r\n", b"PI\rNG\r\n", b"ECHO a\rb\r\n", b"PING\n\r\n",
              b"ping\tx\r\n", b"*\r\n", b"$3\r\nGET\r\n", b"+OK\r\n", b":1\r\n", b"*1\r\n*1\r\n",
              b"*1\r\n$-1\r\n", b"*1\r\n$0\r\n\r\n", b"*2\r\n$4\r\nECHOxx$1\r\nyzz",
              b"*1\rx$4\rxPING\r\n", b"*1\r\n\r\n", b"*1\r\n\n", b"*1\r\n\0", b"*1\0\r\n", b"*\0",
              b"*1\r\n$4\0\r\n", b"*1\r\n$4\n\rPING\r\n", b"*1\n$4\nPING\n", b"ECHO \xff\xfe\r\n",
              b"*1\r\n$\r\n", b"*-\r\n", b"*1\r\n$-\r\n")


class Stream:
    """chunks: what is sent, about a command each. cuts: places in their bytes where sending pauses.
    leaves: the client ends its side right behind the last byte. silent: it may turn off replies,
    and then it is a matter of luck whether Redis closes a connection that it ought to close. wild:
    parts of it may be changed or left out, and there still is one answer only."""

    def __init__(self, seed, chunks, cuts, leaves, silent=False, wild=True,
                 may_block=False):
        self.seed = seed
        self.chunks = chunks
        self.cuts = cuts
        self.leaves = leaves
        self.silent = silent
        self.wild = wild
        self.may_block = may_block

    def pieces(self):
        data = b"".join(self.chunks) + encode("PING", MARK)
        places = [0, *sorted(c for c in set(self.cuts) if 0 < c < len(data)), len(data)]
        return [data[a:b] for a, b in zip(places, places[1:])]

    def with_(self, chunks=None, cuts=None, leaves=None):
        """The same stream but for what is given."""
        return Stream(self.seed, self.chunks if chunks is None else chunks,
                      self.cuts if cuts is None else cuts,
                      self.leaves if leaves is None else leaves, self.silent, self.wild,
                      self.may_block)


def _templates(text):
    return [line.split() for line in text.strip().replace("\n", "|").split("|")]


COMMON, TAME = _templates(_COMMON), _templates(_TAME)


class Maker:
    """Makes one stream. secured: for a server that asks for a password (`right` for the default
    user, and for the user bob)."""

    def __init__(self, seed, secured=False):
        self.seed = seed
        self.secured = secured
        self.rng = random.Random(f"{seed}-{secured}")
        # Names of its own: a session of the stream before may still be on its way out.
        self.tag = f"{seed % 100000:x}"
        self.may_block = self.silent = False

    def stream(self):
        rng = self.rng
        wild = rng.random() < 0.6
        chunks = []
        if self.secured and rng.random() < 0.7:
            chunks.append(self.form(self.credentials()))
        for _ in range(rng.choice((1, 2, 3, 5, 8, 8, 12, 20))):
            chunks += self.some(wild)
        if wild:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                self.damage(chunks)
            if rng.random() < 0.02:
                # At these Redis closes without giving what it owed before.
                chunks.insert(0, rng.choice((b"POST / HTTP/1.1\r\n", b"host: x\n",
                                             encode("Host:", "x"), encode("post"))))
        size = sum(map(len, chunks))
        # Redis closes a client that ends its side while it is blocked or owed much: no single end.
        leaves = size < 30000 and not self.may_block and rng.random() < 0.4
        return Stream(self.seed, chunks, self.cuts(size + 40), leaves, self.silent, wild,
                      self.may_block)

    def cuts(self, size):
        kind = self.rng.random()
        if kind < 0.5:
            return []
        if kind < 0.65 and size < 300:
            return list(range(size))
        return [self.rng.randrange(size) for _ in range(self.rng.randint(1, 5))]

    # commands

    def key(self, kind):
        if self.rng.random() < 0.06:
            kind = self.rng.choice("klhtzx")
        return f"{kind}{self.rng.randint(0, 1)}.{self.tag}"

    def integer(self):
        rng = self.rng
        small = str(rng.randint(-3, 12))
        return rng.choice((small, small, small, "1000", "9223372036854775807", "007", "+1", "x"))

    def value(self):
        rng = self.rng
        kind = rng.random()
        if kind < 0.5:
            return rng.choice(("a", "b", "word", "with space", "12", "-7", "3.5", "", "nan"))
        if kind < 0.85:
            return rng.randbytes(rng.randint(1, 12))
        if kind < 0.97:
            return bytes(rng.choice(_BYTES) for _ in range(rng.randint(1, 8)))
        if self.secured:
            # Before AUTH Redis closes whom it owes more than 16 KiB, errors that quote this.
            return bytes([rng.randrange(256)]) * 100
        size = rng.choice((100, 1000, 16383, 16384, 16385, 32768, 65535, 65536, 65537, 66000,
                           300000))
        line = bytes([rng.randrange(256)]) * 30000 + b"\r\n"  # see long_line
        return (line * (size // len(line) + 1))[:size]

    def fill(self, word):
        if not word.startswith("$") or len(word) != 2:
            return word
        kind = word[1]
        if kind in "klhtzx":
            return self.key(kind)
        if kind == "v":
            return self.value()
        if kind == "i":
            return self.integer()
        if kind == "f":
            return self.rng.choice(("1", "2.5", "-1e3", "inf", "-inf", "0", "3.0", "x", "nan"))
        if kind == "c":
            return f"c{self.rng.randint(0, 1)}.{self.tag}"
        return f"{self.rng.randint(0, 9)}-{self.rng.randint(0, 3)}"

    def words(self, template):
        words = [self.fill(word) for word in template]
        change = self.rng.random()
        if change < 0.02 and len(words) > 1:
            words.pop()
        elif change < 0.04:
            words.append(self.value())
        elif change < 0.1:
            words[0] = "".join(self.rng.choice((c.lower(), c.upper())) for c in words[0]) \
                if isinstance(words[0], str) else words[0]
        return words

    def some(self, wild):
        """The chunks of a command, or of a few that belong together."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.72:
            return [self.form(self.words(rng.choice(COMMON)))]
        if kind < 0.76 and not wild:
            return [self.form(rng.choice(TAME))]
        if kind < 0.80:
            return [self.form(["EVAL", rng.choice(_SCRIPTS), "1", self.key("k")])]
        if kind < 0.86:
            return self.transaction()
        if kind < 0.89 and wild:
            return [rng.choice(_ODD_LINES)]
        if kind < 0.92:
            return self.blocking()
        if kind < 0.94:
            return self.replies()
        if kind < 0.96:
            return self.subscription()
        if kind < 0.98 and not wild:
            return self.numbers_of_its_own()
        return [self.form(self.credentials())]

    def transaction(self):
        rng = self.rng
        chunks = [self.form(["WATCH", self.key("k")])] if rng.random() < 0.3 else []
        chunks.append(self.form(["MULTI"]))
        for _ in range(rng.randint(0, 4)):
            chunks.append(self.form(self.words(rng.choice(COMMON))))
        return chunks + [self.form([rng.choice(("EXEC", "EXEC", "EXEC", "DISCARD", "RESET"))])]

    def blocking(self):
        self.may_block = True
        some, other = self.key("l"), self.key("l")
        return [self.form(["RPUSH", some, "1", "2", "3"]), self.form(self.rng.choice((
            ["BLPOP", some, "0.01"], ["BRPOP", other, some, "0.01"],
            ["BLMPOP", "0.01", "1", some, "LEFT"], ["BRPOPLPUSH", some, other, "0.01"],
            ["BLMOVE", some, other, "LEFT", "RIGHT", "0.01"], ["WAIT", "1", "10"],
            ["BZPOPMIN", self.key("z"), "0.01"],
            ["XREAD", "BLOCK", "10", "STREAMS", self.key("x"), self.rng.choice("0$")])))]

    def replies(self):
        self.silent = True
        chunks = [self.form(["CLIENT", "REPLY", self.rng.choice(("OFF", "SKIP", "ON", "x"))])]
        chunks.append(self.form(self.words(self.rng.choice(COMMON))))
        return chunks + [self.form(["CLIENT", "REPLY", "ON"])] * self.rng.randint(0, 1)

    def subscription(self):
        rng = self.rng
        name = f"c{rng.randint(0, 1)}.{self.tag}"
        kind = rng.choice(("", "", "P", "S"))
        chunks = [self.form(["HELLO", "3"])] if rng.random() < 0.4 else []
        chunks.append(self.form([f"{kind}SUBSCRIBE", name, *([name[:-1]] * rng.randint(0, 1))]))
        for _ in range(rng.randint(0, 4)):
            chunks.append(self.form(rng.choice((
                ["PING"], ["PING", "x"], ["GET", "k"], ["PUBLISH", name, "x"], ["MULTI"], ["RESET"],
                ["SUBSCRIBE"], ["EXEC"], ["UNSUBSCRIBE", "none"], ["QUIT"], ["HELLO", "2"]))))
        return chunks + [self.form([f"{kind}UNSUBSCRIBE"])] * rng.randint(0, 1)

    def numbers_of_its_own(self):
        """Answers that no two servers share, each behind an echo by which it is known."""
        words = self.rng.choice((["CLIENT", "ID"], ["TIME"]))
        info = self.form(["CLIENT", "INFO"]) if self.rng.random() < 0.5 else b""
        return [encode("ECHO", VOLATILE) + encode(*words) + info]

    def credentials(self):
        name, password = self.rng.choice((("bob", "right"), ("bob", "right"), ("default", "right"),
                                          ("bob", "wrong"), ("nobody", "right")))
        return self.rng.choice((["AUTH", name, password], ["AUTH", password],
                                ["HELLO", "3", "AUTH", name, password],
                                ["HELLO", "2", "SETNAME", "me", "AUTH", name, password]))

    # bytes

    def form(self, words):
        """The bytes of a command: mostly an array, sometimes a line."""
        if self.rng.random() < 0.82:
            return encode(*words)
        return self.line(words)

    def line(self, words):
        parts = []
        for word in words:
            raw = word if isinstance(word, bytes) else word.encode()
            if len(raw) > 2000:
                raw = raw[:2000]
            plain = raw and all(32 < c < 127 and c not in b"\"'\\*" for c in raw)
            if plain and self.rng.random() < 0.85:
                parts.append(raw)
            elif b"'" not in raw and not plain and raw.isascii() and raw.isalnum():
                parts.append(b"'" + raw + b"'")
            else:
                parts.append(b'"' + b"".join(self.escaped(c) for c in raw) + b'"')
        gap = self.rng.choice((b" ", b" ", b" ", b"  ", b"\t", b" \t "))
        return gap.join(parts) + self.rng.choice((b"\r\n", b"\r\n", b"\n", b" \r\n"))

    def escaped(self, c):
        if c in b'"\\':
            return b"\\" + bytes([c])
        if 32 <= c < 127 and self.rng.random() < 0.9:
            return bytes([c])
        named = {10: b"\\n", 13: b"\\r", 9: b"\\t", 8: b"\\b", 7: b"\\a"}
        return named.get(c) or b"\\x%02x" % c

    def damage(self, chunks):
        rng = self.rng
        at = rng.randrange(len(chunks))
        chunk = chunks[at]
        if len(chunk) > 100000 or not chunk:
            return
        # Mostly where framing is, else anywhere.
        place = rng.randrange(min(len(chunk), 40) if rng.random() < 0.7 else len(chunk))
        one = bytes([rng.choice(_BYTES) if rng.random() < 0.7 else rng.randrange(256)])
        kind = rng.randrange(11)
        if kind == 0:
            flipped = bytes([chunk[place] ^ 1 << rng.randrange(8)])
            chunks[at] = chunk[:place] + flipped + chunk[place + 1 :]
        elif kind == 1:
            chunks[at] = chunk[:place] + one + chunk[place + 1 :]
        elif kind == 2:
            chunks[at] = chunk[:place] + one + chunk[place:]
        elif kind == 3:
            chunks[at] = chunk[:place] + chunk[place + 1 :]
        elif kind == 4:
            chunks[at] = chunk[: place + 1] + chunk[place:]
        elif kind == 5:
            chunks[at] = chunk[:place]
        elif kind == 6:
            chunks[at] = chunk.replace(*rng.choice(((b"\r\n", b"\n"), (b"\r\n", b"\r"),
                                                    (b"\n", b"x"), (b"\r", b"\0"))), 1)
        elif kind in (7, 8):
            chunks[at] = self.wrong_number(chunk)
        elif kind == 9:
            chunks.insert(at, rng.choice((rng.choice(_ODD_LINES), rng.randbytes(rng.randint(1, 40)),
                                          self.long_line())))
        else:
            chunks.insert(at, chunks[rng.randrange(len(chunks))])

    def wrong_number(self, chunk):
        """One of the numbers of headers is another."""
        places = [i for i, c in enumerate(chunk[:200]) if c in b"*$" and chunk.find(b"\r", i) > 0]
        if not places:
            return chunk
        at = self.rng.choice(places)
        return chunk[: at + 1] + self.rng.choice(_NUMBERS) + chunk[chunk.find(b"\r", at) :]

    def long_line(self):
        """Less than the 64 KiB that a line may have, or far more: Redis takes a longer one whose
        end comes with what it reads at once, which is all there is while the client is blocked."""
        size = self.rng.choice((50000, 60000, 60000 if self.may_block else 800000))
        start = self.rng.choice((b"*", b"*1\r\n$", b"", b"ECHO ", b"*1\0", b" ", b"*1\r\n"))
        end = self.rng.choice((b"", b"\r\n"))
        return start + self.rng.choice((b"1", b"x", b" ", b"0")) * size + end
