package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

const notifiedTitle = "Messages"

// Notified says of each message who has it, and why others have not.
func Notified(messages []migration.Notified, zone *time.Location) []string {
	var texts []string
	for _, n := range messages {
		texts = append(texts, human.Clock(n.AtMillis, zone)+", "+string(n.Event)+": "+NotifiedOf(n))
	}
	return texts
}

// NotifiedOf says what became of one message.
func NotifiedOf(n migration.Notified) string {
	receivers := human.Things(n.Receivers, "receiver", "receivers")
	if n.Delivered == n.Receivers {
		return "sent to " + receivers
	}
	parts := []string{fmt.Sprintf("sent to %d of %s", n.Delivered, receivers)}
	if waiting := n.Receivers - n.Delivered - n.Failing - n.Failed; waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d under way", waiting))
	}
	if n.Failing > 0 {
		parts = append(parts, fmt.Sprintf("%d failing and tried again", n.Failing))
	}
	if n.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d given up", n.Failed))
	}
	text := strings.Join(parts, ", ")
	for _, trouble := range n.Troubles {
		text += "; " + trouble.Receiver + ": " + human.Line(trouble.Error)
	}
	return text + ". Workflow " + n.ID
}
