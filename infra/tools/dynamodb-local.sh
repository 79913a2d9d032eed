#!/usr/bin/env bash
# Fetches Amazon's DynamoDB Local from Maven Central into DYNAMODB_LOCAL_DIR
# (.tmp/ddb). Its licence asks for an AWS account in good standing and forbids
# passing it on, so it is fetched where it is used, and never kept in here.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${DYNAMODB_LOCAL_DIR:-.tmp/ddb}
version=2.6.1
if [ -f "$dir/DynamoDBLocal-$version.jar" ]; then
	exit 0
fi
mkdir -p .tmp "$dir"
cat > .tmp/dynamodb-local.pom.xml <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>com.amazonaws</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>$version</version>
    </dependency>
  </dependencies>
</project>
POM
mvn -B -q -Dstyle.color=never -f .tmp/dynamodb-local.pom.xml \
	org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
	-DincludeScope=runtime -DoutputDirectory="$(cd "$dir" && pwd)"
