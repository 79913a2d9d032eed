package infra_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/meter"
)

// alarmTable is what each alarm of infra/alarms.yaml looks at, of AWS's own metrics as
// the guide of each service lists them. What is of the namespace kmint is tried by
// TestAlarmsOnOwnMetrics as well, on the lines that our code prints.
var alarmTable = map[string]struct {
	// metrics are namespace/name dimensions period statistic.
	metrics []string
	// expression is what is made of them, "" for nothing.
	expression string
	// raised is when: comparison, threshold, for how many periods, and what it is if
	// nothing is said.
	raised string
}{
	"Api5xx":         {[]string{"AWS/ApiGateway/5xx ApiId=!Ref ApiId 300 Sum", "AWS/ApiGateway/Count ApiId=!Ref ApiId 300 Sum"}, "IF(errors >= 5, 100 * errors / requests, 0)", ">= 1 1 notBreaching"},
	"ApiLatency":     {[]string{"AWS/ApiGateway/Latency ApiId=!Ref ApiId 300 p99"}, "", "> 1500 3 notBreaching"},
	"FunctionErrors": {ofFunctions("Errors", "300 Sum"), "SUM([token, authorize, userinfo, discovery, deliver])", ">= 3 1 notBreaching"},
	"FunctionThrottles": {
		ofFunctions("Throttles", "60 Sum"), "SUM([token, authorize, userinfo, discovery, deliver])", ">= 1 1 notBreaching",
	},
	"Concurrency":  {[]string{"AWS/Lambda/ConcurrentExecutions 60 Maximum"}, "100 * running / ${LambdaConcurrency}", "> 80 3 notBreaching"},
	"KmsLatency":   {[]string{"kmint/kms_ms stack=!Ref Stack 300 p95"}, "", "> 250 3 notBreaching"},
	"KmsThrottled": {[]string{"kmint/kms_throttled stack=!Ref Stack 300 Sum"}, "", ">= 1 1 notBreaching"},
	"KmsQuota": {[]string{
		"AWS/Usage/CallCount Service=KMS Type=API Resource=CryptographicOperationsRsa Class=None 60 Sum",
		"AWS/Usage/CallCount Service=KMS Type=API Resource=CryptographicOperationsEcc Class=None 60 Sum",
	}, "100 * MAX([rsa, ecc]) / 60 / ${KMSQuota}", "> 70 3 notBreaching"},
	"DynamodbThrottles": {[]string{
		"AWS/DynamoDB/ReadThrottleEvents TableName=!Ref ConfigTable 300 Sum", "AWS/DynamoDB/WriteThrottleEvents TableName=!Ref ConfigTable 300 Sum",
		"AWS/DynamoDB/ReadThrottleEvents TableName=!Ref UsersTable 300 Sum", "AWS/DynamoDB/WriteThrottleEvents TableName=!Ref UsersTable 300 Sum",
		"AWS/DynamoDB/ReadThrottleEvents TableName=!Ref GrantsTable 300 Sum", "AWS/DynamoDB/WriteThrottleEvents TableName=!Ref GrantsTable 300 Sum",
	}, "SUM([config_read, config_write, users_read, users_write, grants_read, grants_write])", ">= 1 1 notBreaching"},
	"DynamodbErrors": {[]string{
		"AWS/DynamoDB/SystemErrors TableName=!Ref ConfigTable Operation=GetItem 300 Sum",
		"AWS/DynamoDB/SystemErrors TableName=!Ref UsersTable Operation=GetItem 300 Sum", "AWS/DynamoDB/SystemErrors TableName=!Ref UsersTable Operation=UpdateItem 300 Sum",
		"AWS/DynamoDB/SystemErrors TableName=!Ref GrantsTable Operation=GetItem 300 Sum", "AWS/DynamoDB/SystemErrors TableName=!Ref GrantsTable Operation=PutItem 300 Sum",
		"AWS/DynamoDB/SystemErrors TableName=!Ref GrantsTable Operation=UpdateItem 300 Sum", "AWS/DynamoDB/SystemErrors TableName=!Ref GrantsTable Operation=DeleteItem 300 Sum",
		"AWS/DynamoDB/SystemErrors TableName=!Ref GrantsTable Operation=Query 300 Sum",
	}, "SUM([config_get, users_get, users_update, grants_get, grants_put, grants_update, grants_delete, grants_query])", ">= 1 1 notBreaching"},
	"TtlStopped": {[]string{
		"AWS/DynamoDB/ConsumedWriteCapacityUnits TableName=!Ref GrantsTable 86400 Sum", "AWS/DynamoDB/TimeToLiveDeletedItemCount TableName=!Ref GrantsTable 86400 Sum",
	}, "IF(written > 10000 AND SUM([deleted, written * 0]) < 1, 1, 0)", ">= 1 3 notBreaching"},
	"ReplaySeen":         {[]string{"kmint/replays stack=!Ref Stack 300 Sum"}, "", ">= 5 1 notBreaching"},
	"RefreshReuse":       {[]string{"kmint/refresh_reused stack=!Ref Stack 300 Sum"}, "", ">= 5 1 notBreaching"},
	"InvalidClientBurst": {[]string{"kmint/invalid_client stack=!Ref Stack 300 Sum"}, "", "> 50 1 notBreaching"},
	"LoginSuccess": {
		[]string{"kmint/login_ok stack=!Ref Stack 300 Sum", "kmint/login_failed stack=!Ref Stack 300 Sum"},
		"IF(SUM([ok, failed]) >= 250, 100 * SUM([ok, failed * 0]) / SUM([ok, failed]), 100)", "< 30 1 notBreaching",
	},
	"KeyAge":         {[]string{"kmint/key_age_days stack=!Ref Stack 21600 Maximum"}, "age - ${RotationDays}", "> 7 4 missing"},
	"NextKeyMissing": {[]string{"kmint/next_key_missing stack=!Ref Stack 21600 Maximum"}, "", ">= 1 4 notBreaching"},
	"RotationFailed": {
		[]string{"kmint/rotation_failed stack=!Ref Stack 3600 Sum", "AWS/Lambda/Errors FunctionName=!Ref RotateFunction 3600 Sum"},
		"SUM([failed, errors])", ">= 1 1 notBreaching",
	},
	"DeadLetters": {[]string{"AWS/SQS/ApproximateNumberOfMessagesVisible QueueName=!Ref DeadLetterQueue 300 Maximum"}, "", "> 0 1 notBreaching"},
}

// ofFunctions is a metric of each function that answers somebody.
func ofFunctions(metric, how string) (metrics []string) {
	for _, f := range []string{"Token", "Authorize", "Userinfo", "Discovery", "Deliver"} {
		metrics = append(metrics, "AWS/Lambda/"+metric+" FunctionName=!Ref "+f+"Function "+how)
	}
	return metrics
}

func TestAlarms(t *testing.T) {
	for _, problem := range alarming(readFile(t, "alarms.yaml")) {
		t.Error(problem)
	}
}

// TestAlarmsRefuse breaks the file in one place at a time.
func TestAlarmsRefuse(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"a metric that AWS has not":    {"MetricName: 5xx", "MetricName: 5XXError", "Api5xx looks at"},
		"another dimension":            {"{Name: QueueName,", "{Name: Queue,", "DeadLetters looks at"},
		"another statistic":            {"ExtendedStatistic: p99", "ExtendedStatistic: p50", "ApiLatency looks at"},
		"another threshold":            {"Threshold: 1500", "Threshold: 15000", "ApiLatency is raised at"},
		"the other way round":          {"LessThanThreshold", "GreaterThanThreshold", "LoginSuccess is raised at"},
		"of another stack":             {"[{Name: stack, Value: !Ref Stack}]", "[{Name: stack, Value: kmint}]", "KmsLatency looks at"},
		"another sum":                  {"SUM([failed, errors])", "failed + errors", "RotationFailed reckons failed + errors"},
		"no data is an alarm":          {"TreatMissingData: notBreaching", "TreatMissingData: breaching", "Api5xx is raised at"},
		"nobody is told":               {"AlarmActions: [!If [MakesTopic, !Ref Topic, !Ref AlarmTopicArn]]", "AlarmActions: []", "Api5xx tells nobody"},
		"silence is no sign":           {"      InsufficientDataActions: [!If [MakesTopic, !Ref Topic, !Ref AlarmTopicArn]]\n", "", "KeyAge does not tell that nothing is said any more"},
		"another section":              {"${Runbook}#kms-quota", "${Runbook}#quota", "KmsQuota does not end with"},
		"another name":                 {"${Stack}-kms-quota", "${Stack}-quota", "KmsQuota is not named"},
		"an alarm less":                {"  KeyAge:\n", "  OldKey:\n", "there is no alarm KeyAge"},
		"an alarm more":                {"  KeyAge:\n", "  OldKey:\n", "OldKey is an alarm that this test does not know"},
		"a dashboard that is no JSON":  {`"stat": "p95"}`, `"stat": "p95"`, "the dashboard is no JSON"},
		"a dashboard of other numbers": {`"login_failed"`, `"login_failures"`, "the dashboard shows login_failures, which no function writes"},
	} {
		t.Run(name, func(t *testing.T) {
			text := readFile(t, "alarms.yaml")
			if !strings.Contains(text, c.old) {
				t.Fatalf("there is no %q", c.old)
			}
			found := alarming(strings.Replace(text, c.old, c.new, 1))
			if !slices.ContainsFunc(found, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("want %q, got %q", c.want, found)
			}
		})
	}
}

// TestRunbook holds that there is a section for each alarm.
func TestRunbook(t *testing.T) {
	headings := map[string]bool{}
	for line := range strings.Lines(readFile(t, "README.md")) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			headings[strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-")] = true
		}
	}
	for _, id := range append(slices.Collect(maps.Keys(alarmTable)), "NewVersion") {
		if !headings[kebab(id)] {
			t.Errorf("infra/README.md has no section %s", kebab(id))
		}
	}
}

// alarming lists what is wrong with the alarms.
func alarming(templateText string) (found []string) {
	template, err := parse(templateText)
	if err != nil {
		return []string{err.Error()}
	}
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for id, resource := range members(template["Resources"]) {
		if _, known := alarmTable[id]; !known && text(at(resource, "Type")) == "AWS::CloudWatch::Alarm" {
			report("%s is an alarm that this test does not know", id)
		}
	}
	for id, want := range alarmTable {
		alarm := members(at(template, "Resources", id, "Properties"))
		if alarm == nil {
			report("there is no alarm %s", id)
			continue
		}
		metrics, expression := readMetrics(alarm)
		if !slices.Equal(metrics, want.metrics) {
			report("%s looks at %q", id, metrics)
		}
		if expression != want.expression {
			report("%s reckons %s", id, expression)
		}
		if raised := readRaised(alarm); raised != want.raised {
			report("%s is raised at %s", id, raised)
		}
		if alarm["AlarmName"] != any(call{"Sub", "${Stack}-" + kebab(id)}) {
			report("%s is not named %s", id, kebab(id))
		}
		if says, ok := alarm["AlarmDescription"].(call); !ok || !strings.HasSuffix(text(says.Argument), " ${Runbook}#"+kebab(id)) {
			report("%s does not end with where to read on", id)
		}
		told := []any{call{"If", []any{"MakesTopic", call{"Ref", "Topic"}, call{"Ref", "AlarmTopicArn"}}}}
		if !reflect.DeepEqual(alarm["AlarmActions"], any(told)) || !reflect.DeepEqual(alarm["OKActions"], any(told)) {
			report("%s tells nobody", id)
		}
		if text(alarm["TreatMissingData"]) == "missing" && !reflect.DeepEqual(alarm["InsufficientDataActions"], any(told)) {
			report("%s does not tell that nothing is said any more", id)
		}
	}
	return append(found, dashboard(template)...)
}

// readMetrics writes what an alarm looks at as alarmTable does, and what it makes of it.
func readMetrics(alarm map[string]any) (metrics []string, expression string) {
	line := func(metric, how map[string]any) string {
		words := []string{text(metric["Namespace"]) + "/" + text(metric["MetricName"])}
		for _, d := range list(metric["Dimensions"]) {
			value := text(at(d, "Value"))
			if c, ok := at(d, "Value").(call); ok {
				value = "!" + c.Name + " " + text(c.Argument)
			}
			words = append(words, text(at(d, "Name"))+"="+value)
		}
		return strings.Join(append(words, text(how["Period"]), text(how["Stat"])+text(how["Statistic"])+text(how["ExtendedStatistic"])), " ")
	}
	if alarm["Namespace"] != nil {
		return []string{line(alarm, alarm)}, ""
	}
	for _, m := range list(alarm["Metrics"]) {
		switch e := at(m, "Expression").(type) {
		case nil:
			metrics = append(metrics, line(members(at(m, "MetricStat", "Metric")), members(at(m, "MetricStat"))))
		case call:
			expression = text(e.Argument)
		default:
			expression = text(e)
		}
	}
	return metrics, expression
}

func readRaised(alarm map[string]any) string {
	comparison := map[string]string{"GreaterThanThreshold": ">", "GreaterThanOrEqualToThreshold": ">=", "LessThanThreshold": "<"}[text(alarm["ComparisonOperator"])]
	return strings.Join([]string{comparison, text(alarm["Threshold"]), text(alarm["EvaluationPeriods"]), text(alarm["TreatMissingData"])}, " ")
}

// dashboard lists what is wrong with it.
func dashboard(template map[string]any) (found []string) {
	body, _ := at(template, "Resources", "Dashboard", "Properties", "DashboardBody").(call)
	var tree struct {
		Widgets []struct{ Properties struct{ Metrics [][]any } }
	}
	if err := json.Unmarshal([]byte(regexp.MustCompile(`\$\{[\w:]+\}`).ReplaceAllString(text(body.Argument), "1")), &tree); err != nil {
		return []string{fmt.Sprintf("the dashboard is no JSON: %v", err)}
	}
	shown := 0
	for _, widget := range tree.Widgets {
		var before []any
		for _, metric := range widget.Properties.Metrics {
			if metric[0] == "..." {
				continue
			}
			// A dot is what stands in that place of the metric before.
			for i := range metric {
				if metric[i] == "." && i < len(before) {
					metric[i] = before[i]
				}
			}
			before = metric
			if metric[0] == meter.Namespace {
				shown++
				if name, _ := metric[1].(string); !written(name) || metric[2] != meter.Dimension {
					found = append(found, "the dashboard shows "+name+", which no function writes")
				}
			}
		}
	}
	if shown < 10 {
		found = append(found, "the dashboard shows little of ours")
	}
	return found
}

// written says whether there is such a metric of ours.
func written(name string) bool {
	return slices.ContainsFunc(meter.Metrics(), func(d meter.Definition) bool { return string(d.Name) == name })
}

// kebab is KmsQuota as kms-quota.
func kebab(id string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z0-9])`).ReplaceAllString(id, "$1-$2"))
}
