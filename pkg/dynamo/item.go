package dynamo

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"kmint/pkg/store"
)

// An item is read tolerantly: an attribute that is missing, or of another type,
// is the zero value, which for all that guards a grant is a refusal. What is zero
// is not written.
type item map[string]types.AttributeValue

func keyOf(key string) item { return item{"pk": text(key)} }

func newItem(key string) item { return item{"pk": text(key), "v": number(store.Version)} }

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func flag(b bool) types.AttributeValue   { return &types.AttributeValueMemberBOOL{Value: b} }
func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// millis rounds down: a time that is compared with one of these is before it
// exactly if its own milliseconds are.
func millis(t time.Time) types.AttributeValue { return number(t.UnixMilli()) }

// notBefore rounds up: it ends what must not end early.
func notBefore(t time.Time) types.AttributeValue { return millis(t.Add(time.Millisecond - 1)) }

// seconds rounds up: nothing is to be deleted early.
func seconds(t time.Time) types.AttributeValue { return number(t.Add(time.Second - 1).Unix()) }

// texts is a list and no set: it keeps its order and may be empty. contains()
// works on it, and would find parts of words in a string.
func texts(list []string) types.AttributeValue {
	values := make([]types.AttributeValue, len(list))
	for i, s := range list {
		values[i] = text(s)
	}
	return &types.AttributeValueMemberL{Value: values}
}

// setNames is a set, which two writers add to without reading it. It has no order,
// and cannot be empty.
func (i item) setNames(name string, list []string) {
	if len(list) > 0 {
		i[name] = &types.AttributeValueMemberSS{Value: list}
	}
}

func (i item) names(name string) []string {
	if set, ok := i[name].(*types.AttributeValueMemberSS); ok {
		return set.Value
	}
	return nil
}

func (i item) setText(name, s string) {
	if s != "" {
		i[name] = text(s)
	}
}

func (i item) setTime(name string, t time.Time) {
	if !t.IsZero() {
		i[name] = millis(t)
	}
}

func (i item) setFlag(name string, b bool) {
	if b {
		i[name] = flag(true)
	}
}

// setClaims keeps claims as JSON text: numbers come back as they went in.
func (i item) setClaims(name string, claims map[string]any) error {
	if claims == nil {
		return nil
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	i.setText(name, string(text))
	return nil
}

func (i item) claims(name string) (map[string]any, error) {
	kept := i.text(name)
	if kept == "" {
		return nil, nil
	}
	var claims map[string]any
	if err := json.Unmarshal([]byte(kept), &claims); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return claims, nil
}

func (i item) text(name string) string {
	if s, ok := i[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func (i item) flag(name string) bool {
	b, ok := i[name].(*types.AttributeValueMemberBOOL)
	return ok && b.Value
}

func (i item) number(name string) int64 {
	if n, ok := i[name].(*types.AttributeValueMemberN); ok {
		if value, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return value
		}
	}
	return 0
}

func (i item) time(name string) time.Time {
	if _, ok := i[name].(*types.AttributeValueMemberN); !ok {
		return time.Time{}
	}
	return time.UnixMilli(i.number(name)).UTC()
}

func (i item) texts(name string) []string {
	list, ok := i[name].(*types.AttributeValueMemberL)
	if !ok {
		return nil
	}
	var values []string
	for _, value := range list.Value {
		if s, ok := value.(*types.AttributeValueMemberS); ok {
			values = append(values, s.Value)
		}
	}
	return values
}
