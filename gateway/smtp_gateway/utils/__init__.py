"""What any project could use: nothing here knows mail or Cakemail."""
