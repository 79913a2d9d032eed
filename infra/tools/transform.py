"""Prints what CloudFormation makes of a SAM template, with stand-ins for the
uploaded code. It needs no network: the transform is the SAM CLI's own, so it runs
in the virtual environment of that.
"""

import json
import logging
import os
import re
import sys

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class NoManagedPolicies:
    """The template names none, so none has to be looked up."""

    def load(self):
        return {}


logging.getLogger("samtranslator").setLevel(logging.ERROR)
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
with open(sys.argv[1]) as file:
    template = yaml_parse(file)
template["Globals"]["Function"]["CodeUri"] = "s3://stand-in/code"
transformed = transform(template, {}, NoManagedPolicies())
for name, resource in transformed["Resources"].items():
    if resource["Type"] == "AWS::CloudFormation::Stack":
        resource["Properties"]["TemplateURL"] = "https://stand-in.s3.amazonaws.com/template"
    # A variable in the route that the permission does not have as a * would be
    # refused for every request.
    if resource["Type"] == "AWS::Lambda::Permission" and "/{" in json.dumps(resource["Properties"]["SourceArn"]):
        sys.exit(f"{name} does not cover its route: {resource['Properties']['SourceArn']}")


def names(value):
    """What a part of the template refers to."""
    if isinstance(value, list):
        for item in value:
            yield from names(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("Ref", "DependsOn") and isinstance(item, str):
                yield item
            elif key == "Fn::GetAtt":
                yield item[0] if isinstance(item, list) else item.split(".")[0]
            else:
                if key == "Fn::Sub":
                    text = item if isinstance(item, str) else item[0]
                    yield from (name.split(".")[0] for name in re.findall(r"\$\{([^}!]+)\}", text))
                yield from names(item)


# cfn-lint finds circles too, and some where there is none: in the template a function
# refers to its hook, in this one its alias does.
refers = {name: set(names(resource)) & set(transformed["Resources"]) for name, resource in transformed["Resources"].items()}
while refers:
    free = [name for name, others in refers.items() if not others & set(refers) - {name}]
    if not free:
        sys.exit(f"these refer to each other in a circle, or to such: {', '.join(sorted(refers))}")
    for name in free:
        del refers[name]
json.dump(transformed, sys.stdout, indent=1)
