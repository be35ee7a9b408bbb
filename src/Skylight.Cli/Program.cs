Console.WriteLine("skylight");
return 0;
