"""The agent: brings the plan to the workers, says what they run, reports what they counted. Traffic never needs it."""
