"""Says of each command of the AWS CLI on its standard input, one a line, what is wrong
with it: an operation, a waiter or an option that there is none of. It asks AWS nothing:
what there is, botocore knows, by which the CLI is made."""

import shlex
import sys

import botocore.session
import jmespath
from botocore import xform_name

EVERYWHERE = {"query", "output", "region", "profile"}


def wrong(line, session):
    words = shlex.split(line)
    if words[0] != "aws" or len(words) < 3:
        return "no command of the AWS CLI"
    service = words[1]
    if service not in session.get_available_services():
        return "no service " + service
    model = session.get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    rest = words[3:]
    operation = operations.get(words[2])
    if words[2] == "wait":
        waiters = session.get_waiter_model(service)
        found = {xform_name(name, "-"): name for name in waiters.waiter_names}
        if words[3] not in found:
            return "no waiter " + words[3]
        operation = waiters.get_waiter(found[words[3]]).operation
        rest = words[4:]
    if operation is None:
        return "no operation " + words[2]
    shape = model.operation_model(operation).input_shape
    members = {xform_name(name, "-") for name in shape.members}
    given = set()
    for at, word in enumerate(rest):
        if not word.startswith("--"):
            continue
        if word == "--query":
            try:
                jmespath.compile(rest[at + 1])
            except jmespath.exceptions.JMESPathError as error:
                return "its query cannot be read: " + str(error).splitlines()[0]
        name = word[2:].split("=")[0]
        if name in EVERYWHERE:
            continue
        if name not in members and not (name.startswith("no-") and name[3:] in members):
            return "no option --" + name
        given.add(name)
    missing = {xform_name(name, "-") for name in shape.required_members} - given
    if missing:
        return "it lacks --" + ", --".join(sorted(missing))
    return None


def main():
    session = botocore.session.Session()
    failed = False
    for line in sys.stdin:
        problem = wrong(line.strip(), session)
        if problem:
            failed = True
            print(f"{line.strip()}: {problem}")
    sys.exit(failed)


main()
