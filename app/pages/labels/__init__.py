"""The pages of a team that labels: progress, queue, lists, activity and import."""
