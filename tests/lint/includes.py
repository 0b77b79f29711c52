#!/usr/bin/env python3
"""Checks what the sources in proxy/, sentinel/ and config/ include and call.

Layers go one way (base < resp, net, config < sentinel < proxy core < main), paths are written from
the repository root, each library has its one door, headers are guarded, and functions that have no
safe use are not called.

usage: includes.py [--root DIR]     checks the tree (default: the one this file is in)
       includes.py --self-test      proves on bad trees that each rule can fail
"""
import re
from pathlib import Path

import frame

# What a layer may include besides itself.
BELOW = {
    "base": set(),
    "resp": {"base"},
    "net": {"base"},
    "config": {"base"},
    "sentinel": {"base", "resp", "net", "config"},
    "proxy": {"base", "resp", "net", "config", "sentinel"},
    "main": {"base", "resp", "net", "config", "sentinel", "proxy"},
}

# Library header: the layer that may include it, and in how many files at most.
DOORS = [
    (re.compile(r"uv\.h|uv/.*"), "net", None),
    (re.compile(r"openssl/.*"), "net", None),
    (re.compile(r"hiredis/.*|hiredis\.h"), "sentinel", 2),
    (re.compile(r"ini\.h"), "config", 1),
]

# Function: what to use instead.
BANNED = {
    "atoi": "slice_to_i64",
    "atol": "slice_to_i64",
    "atoll": "slice_to_i64",
    "strcpy": "memcpy or snprintf",
    "stpcpy": "memcpy or snprintf",
    "strcat": "snprintf or buf_append_str",
    "strncpy": "memcpy or snprintf",
    "strncat": "snprintf or buf_append_str",
    "sprintf": "snprintf or buf_printf",
    "vsprintf": "vsnprintf",
    "gets": "read",
    "strtok": "slices",
    "strtok_r": "slices",
    "alloca": "a bounded array or the heap",
    "localtime": "localtime_r",
    "gmtime": "gmtime_r",
    "ctime": "strftime",
    "asctime": "strftime",
    "strerror": "strerror_r",
    "gethostbyname": "the resolver of proxy/net",
    "inet_addr": "addr_numeric",
    "inet_ntoa": "sockaddr_to_addr",
    "tmpnam": "mkstemp",
    "mktemp": "mkstemp",
    "rand": "a generator of one's own state",
    "srand": "a generator of one's own state",
    "system": "nothing: no shells",
    "popen": "nothing: no shells",
    "setjmp": "return values",
    "longjmp": "return values",
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', re.M)
CALL = re.compile(r"(?<![\w.])(" + "|".join(BANNED) + r")\s*\(")
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(match):
    """Keeps the line breaks of what is not code, so that line numbers stay right."""
    return "\n" * match.group().count("\n")


def layer_of(path):
    """The layer of a path relative to the root, None outside of the layers."""
    parts = Path(path).parts
    if path == "proxy/main.c":
        return "main"
    if parts[0] in ("config", "sentinel"):
        return parts[0]
    if parts[0] == "proxy" and len(parts) == 2:
        return "proxy"
    if parts[0] == "proxy" and parts[1] in ("base", "resp", "net"):
        return parts[1]
    return None


def check_own(root, path, target):
    """What is wrong with including target, written in quotes."""
    if target.startswith(("/", ".")) or ".." in Path(target).parts:
        return f'"{target}" is not written from the repository root'
    if not (root / target).is_file():
        return f'"{target}" does not exist under the repository root'
    layer, below = layer_of(path), layer_of(target)
    if below is None:
        return f'"{target}" is in no layer'
    if below != layer and below not in BELOW[layer]:
        return f'"{target}": layer {layer} may not use layer {below}'
    return None


def check_library(path, target):
    for door, layer, _ in DOORS:
        if door.fullmatch(target) and layer_of(path) != layer:
            return f"<{target}> may be included in layer {layer} only"
    return None


def check_guard(path, code):
    """A header opens and closes with its own guard."""
    folder, name = Path(path).parts[-2:]
    guard = "VEDETTE_" + re.sub(r"\W", "_", f"{folder}_{name}").upper()
    lines = [line.strip() for line in code.split("\n") if line.strip()]
    if lines[:2] != [f"#ifndef {guard}", f"#define {guard}"] or lines[-1:] != ["#endif"]:
        return [f"the header is not guarded by {guard}"]
    return []


def check_file(root, path, problems, doors):
    text = (root / path).read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        kind, target = match.groups()
        quoted = kind == '"'
        if quoted:
            wrong = check_own(root, path, target)
        elif (root / target).is_file():
            wrong = f"<{target}> is ours: in quotes"
        else:
            wrong = check_library(path, target)
        if wrong:
            problems.append(f"{path}:{text.count(chr(10), 0, match.start(2)) + 1}: {wrong}")
        for door, _, _ in DOORS:
            if not quoted and not wrong and door.fullmatch(target):
                doors.setdefault(door.pattern, set()).add(path)
    code = NOT_CODE.sub(blank, text)
    for match in CALL.finditer(code):
        name = match.group(1)
        line = code.count("\n", 0, match.start()) + 1
        problems.append(f"{path}:{line}: {name} is banned: use {BANNED[name]}")
    if path.endswith(".h"):
        problems += [f"{path}:1: {wrong}" for wrong in check_guard(path, code)]


def check(root):
    """All problems of the tree, and how many files were looked at."""
    problems, doors, seen = [], {}, 0
    for top in ("proxy", "sentinel", "config"):
        for file in sorted((root / top).rglob("*")):
            path = file.relative_to(root).as_posix()
            if file.suffix not in (".c", ".h", ".def"):
                continue
            seen += 1
            if layer_of(path) is None:
                problems.append(f"{path}:1: this folder is no layer")
            else:
                check_file(root, path, problems, doors)
    for door, _, most in DOORS:
        users = sorted(doors.get(door.pattern, ()))
        if most is not None and len(users) > most:
            problems.append(f"{users[most]}:1: more than {most} files include {door.pattern}: "
                            + ", ".join(users))
    return problems, seen


def header(guard, body=""):
    return f"/* x */\n#ifndef {guard}\n#define {guard}\n{body}\n#endif\n"


GOOD = {
    "proxy/base/a.h": header("VEDETTE_BASE_A_H", "#include <stdint.h>"),
    "proxy/resp/r.h": header("VEDETTE_RESP_R_H", '#include "proxy/base/a.h"'),
    "proxy/net/n.h": header("VEDETTE_NET_N_H", "#include <uv.h>\n#include <openssl/ssl.h>"),
    "config/c.h": header("VEDETTE_CONFIG_C_H"),
    "config/c.c": '#include "config/c.h"\n\n#include <ini.h>\n',
    "sentinel/s.h": header("VEDETTE_SENTINEL_S_H", '#include "proxy/net/n.h"'),
    "sentinel/s.c": '#include "sentinel/s.h"\n#include <hiredis/hiredis.h>\n',
    "proxy/t.def": "T(1)\n",
    "proxy/p.h": header("VEDETTE_PROXY_P_H", '#include "sentinel/s.h"\n#include "proxy/t.def"'),
    "proxy/main.c": '#include "proxy/p.h"\n'
    '/* strcpy(a, b) */ int my_atoi(int); static char *s = "sprintf(x)"; // gets(x)\n'
    "static void f(void) { snprintf(0, 0, s); t.system(1); strftime_system(); }\n",
}

# Files laid over the good tree, and what must be said of them.
BAD = [
    ({"proxy/base/a.h": header("VEDETTE_BASE_A_H", '#include "proxy/resp/r.h"')}, "base may not"),
    ({"proxy/resp/x.c": '#include "proxy/net/n.h"\n'}, "resp may not"),
    ({"proxy/net/x.c": '#include "config/c.h"\n'}, "net may not"),
    ({"config/x.c": '#include "proxy/resp/r.h"\n'}, "config may not"),
    ({"sentinel/x.c": '#include "proxy/p.h"\n'}, "sentinel may not"),
    ({"proxy/net/x.c": '# include  "proxy/p.h"\n'}, "net may not"),
    ({"proxy/x.c": '#include "p.h"\n'}, "does not exist"),
    ({"proxy/x.c": '#include "../config/c.h"\n'}, "not written from"),
    ({"proxy/base/x.c": '#include "./proxy/base/a.h"\n'}, "not written from"),
    ({"proxy/x.c": '#include "tests/t.h"\n', "tests/t.h": ""}, "in no layer"),
    ({"proxy/x.c": "#include <proxy/p.h>\n"}, "in quotes"),
    ({"proxy/x.c": "#include <uv.h>\n"}, "in layer net only"),
    ({"sentinel/x.c": "#include <openssl/ssl.h>\n"}, "in layer net only"),
    ({"proxy/x.c": "#include <hiredis/hiredis.h>\n"}, "in layer sentinel only"),
    ({f"sentinel/x{i}.c": "#include <hiredis/read.h>\n" for i in range(2)}, "more than 2 files"),
    ({"proxy/base/x.c": "#include <ini.h>\n"}, "in layer config only"),
    ({"config/x.c": "#include <ini.h>\n"}, "more than 1 files"),
    ({"proxy/lib/x.c": "int x;\n"}, "no layer"),
    ({"proxy/base/b.h": "int x;\n"}, "not guarded"),
    ({"proxy/base/b.h": header("VEDETTE_B_H")}, "not guarded"),
    ({"proxy/base/b.h": header("VEDETTE_BASE_B_H") + "int x;\n"}, "not guarded"),
    ({"proxy/t.def": "T(atoi(x))\n"}, "atoi is banned"),
] + [({"proxy/x.c": f"int f(void)\n{{\n    return {name} (x);\n}}\n"}, f"x.c:3: {name} is banned")
     for name in BANNED]


def self_test():
    failures = [f"the good tree: {problem}" for problem in frame.problems_of(check, GOOD)]
    for files, said in BAD:
        problems = frame.problems_of(check, {**GOOD, **files})
        if len(problems) != 1 or said not in problems[0]:
            failures.append(f"{files}: wanted one '{said}', got {problems}")
    return failures, len(BAD) + 1


if __name__ == "__main__":
    frame.main(check, self_test)
