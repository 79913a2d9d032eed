"""Prints what CloudFormation makes of a SAM template, with stand-ins for the
uploaded code. It needs no network: the transform is the SAM CLI's own, so it runs
in the virtual environment of that.
"""

import json
import logging
import os
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
json.dump(transformed, sys.stdout, indent=1)
