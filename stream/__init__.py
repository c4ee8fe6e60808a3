"""The Faust application: clicks in, session state, recommendations out, health and metrics."""
