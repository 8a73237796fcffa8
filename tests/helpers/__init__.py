"""What tests of several rooms share: files, models, servers, oracles. No test is here."""
