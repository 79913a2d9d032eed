#!/bin/sh
# Deletes old versions of a stack's functions: those that no alias sends requests to, but
# for the newest three, so that there is something to go back to. Its argument is the
# name of the stack.
set -eu
stack=${1:?the name of the stack}

functions=$(aws cloudformation list-stack-resources --stack-name "$stack" --output text \
	--query "StackResourceSummaries[?ResourceType=='AWS::Lambda::Function'].PhysicalResourceId")
for function in $functions; do
	# A canary's alias names two.
	used=$(aws lambda list-aliases --function-name "$function" --output text \
		--query 'Aliases[].[FunctionVersion, keys(RoutingConfig.AdditionalVersionWeights || `{}`)]')
	versions=$(aws lambda list-versions-by-function --function-name "$function" --output text --query 'Versions[].Version')
	for version in $(printf '%s\n' $versions | grep -v '^\$LATEST$' | sort -n | awk '{v[NR] = $0} END {for (i = 1; i <= NR - 3; i++) print v[i]}'); do
		case " $(printf '%s ' $used) " in
		*" $version "*) continue ;;
		esac
		aws lambda delete-function --function-name "$function" --qualifier "$version"
		echo "deleted $function $version"
	done
done
