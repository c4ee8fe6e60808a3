"""The floor: what training and the stream must agree on. Knows no Kafka, no Faust, no training code."""
